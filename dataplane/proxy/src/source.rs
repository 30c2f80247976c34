//! Where the configuration comes from: a file, `--to`, or the built-in demonstration. All three become YAML text that the one
//! parser reads, so `/config_dump` of the demonstration shows a configuration to start from.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ringway_config::{ConfigError, Format};
use ringway_policy::compile::Resolved;
use ringway_policy::snapshot::Snapshot;
use ringway_policy::spec::{Address, Spec};

use crate::address::show;
use crate::cli::{Local, RunArgs, Workers};

/// Where the demonstration and `--to` listen.
pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
/// Where the admin API listens when neither the configuration nor the command line says.
pub const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9901);
/// Bytes of a configuration file at most.
pub const FILE_BYTES_MAX: u64 = 64 << 20;

/// Where the configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, read again on reload.
    File(PathBuf),
    /// One upstream, proxied from `listen`.
    To {
        /// Where to listen.
        listen: SocketAddr,
        /// Where to connect to.
        upstream: Address,
    },
    /// The built-in demonstration.
    Demo {
        /// Where to listen.
        listen: SocketAddr,
    },
}

impl Source {
    /// What the command line asks for.
    pub fn of(args: &RunArgs) -> Source {
        match (&args.config, &args.to) {
            (Some(file), _) => Source::File(file.clone()),
            (None, Some(upstream)) => Source::To { listen: LISTEN, upstream: upstream.clone() },
            (None, None) => Source::Demo { listen: LISTEN },
        }
    }

    /// For logs and the admin API.
    pub fn describe(&self) -> String {
        match self {
            Source::File(path) => path.display().to_string(),
            Source::To { upstream, .. } => format!("--to {}", show(upstream)),
            Source::Demo { .. } => "the built-in demonstration".to_string(),
        }
    }

    /// The file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Source::File(path) => Some(path),
            _ => None,
        }
    }

    /// The text and the name errors refer to. `samples` are the demonstration's services.
    pub fn text(&self, samples: &[SocketAddr]) -> Result<String, String> {
        match self {
            Source::File(path) => read(path),
            Source::To { listen, upstream } => Ok(yaml("", *listen, &[show(upstream)])),
            Source::Demo { listen } => {
                let samples: Vec<String> = samples.iter().map(SocketAddr::to_string).collect();
                // One worker: round robin is in turn for each worker, and this is to be seen.
                Ok(yaml("workers: 1\n", *listen, &samples))
            }
        }
    }

    /// Parses and validates `text`; the error is ready to be shown. Names are not looked up.
    pub fn parse(&self, text: &str) -> Result<Loaded, String> {
        let format = self.file().map_or(Format::Yaml, Format::from_path);
        let document =
            ringway_config::parse(&self.describe(), text, format).map_err(|errors| show_errors(&errors))?;
        let snapshot = ringway_config::compile(&document, &Resolved::new(), None, 0);
        let snapshot = snapshot.map_err(|errors| show_errors(&errors))?;
        let warnings = document.warnings.iter().map(ToString::to_string).collect();
        let mut spec = document.spec.clone();
        if !document.has("admin") {
            spec.process.admin = Some(Address::Inet(ADMIN));
        }
        Ok(Loaded { spec, snapshot, warnings })
    }
}

/// A configuration that can be served.
#[derive(Debug)]
pub struct Loaded {
    /// As written, defaults filled in.
    pub spec: Spec,
    /// As compiled, without the addresses of names.
    pub snapshot: Snapshot,
    /// What is probably not meant.
    pub warnings: Vec<String>,
}

/// All errors, one after the other, and how many there are.
fn show_errors(errors: &[ConfigError]) -> String {
    let mut out = String::new();
    for error in errors {
        let _ = writeln!(out, "{error}");
    }
    let plural = if errors.len() == 1 { "error" } else { "errors" };
    let _ = write!(out, "{} {plural}", errors.len());
    out
}

/// Lays the command line over what was loaded: it wins.
pub fn override_by(spec: &mut Spec, args: &RunArgs) {
    let process = &mut spec.process;
    match args.workers {
        Some(Workers::Auto) => process.workers = None,
        Some(Workers::Count(n)) => process.workers = Some(n),
        None => {}
    }
    if let Some(driver) = args.driver {
        process.driver = driver;
    }
    for (asked, setting) in [(&args.admin, &mut process.admin), (&args.telemetry, &mut process.telemetry)] {
        match asked {
            Some(Local::At(address)) => *setting = Some(address.clone()),
            Some(Local::Off) => *setting = None,
            None => {}
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let metadata = std::fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(format!(
            "{shown}: {} bytes; a configuration has at most {FILE_BYTES_MAX}",
            metadata.len()
        ));
    }
    std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))
}

fn yaml(process: &str, listen: SocketAddr, endpoints: &[String]) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|endpoint| format!("{endpoint:?}")).collect();
    format!(
        "version: 1\n{process}\
         listeners:\n  web: {{ address: \"{listen}\" }}\n\
         routes:\n  - {{ host: \"*\", path: {{ prefix: \"/\" }}, cluster: app }}\n\
         clusters:\n  app:\n    lb: round_robin\n    endpoints: [{}]\n",
        endpoints.join(", ")
    )
}
