//! Starts and stops one proxy: fills its config template, pins it to the proxy core, finds its processes.

use crate::{
    failure::{Context, Failure, Result},
    machine, net, procfs, wait,
};
use rustix::process::{Pid, Signal};
use serde::Serialize;
use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// How long a proxy may take to listen, and to end when asked.
const PATIENCE: Duration = Duration::from_secs(10);

/// A proxy that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Peer {
    /// Ringway with the driver it chooses itself.
    Ringway,
    /// Ringway on epoll.
    RingwayEpoll,
    /// Ringway on io_uring.
    RingwayUring,
    /// nginx from Debian.
    Nginx,
    /// HAProxy from Debian.
    Haproxy,
    /// No proxy: the load goes straight to the origin.
    Direct,
}

impl Peer {
    /// Every peer.
    pub const ALL: [Self; 6] =
        [Self::Ringway, Self::RingwayEpoll, Self::RingwayUring, Self::Nginx, Self::Haproxy, Self::Direct];

    /// The name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ringway => "ringway",
            Self::RingwayEpoll => "ringway-epoll",
            Self::RingwayUring => "ringway-uring",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Direct => "direct",
        }
    }

    /// The peer with this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|peer| peer.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|peer| peer.name()).collect();
            Failure::new(format!("no peer `{name}`; there are {}", names.join(", ")))
        })
    }

    /// The value of `--driver`, for Ringway.
    pub fn driver(self) -> Option<&'static str> {
        match self {
            Self::Ringway => Some("auto"),
            Self::RingwayEpoll => Some("epoll"),
            Self::RingwayUring => Some("uring"),
            Self::Nginx | Self::Haproxy | Self::Direct => None,
        }
    }

    /// Ringway with this driver.
    ///
    /// # Errors
    /// When there is no such driver.
    pub fn with_driver(driver: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|peer| peer.driver() == Some(driver))
            .ok_or_else(|| Failure::new(format!("no driver `{driver}`; there are auto, epoll, uring")))
    }

    /// Version as the program prints it.
    ///
    /// # Errors
    /// When the program is not installed or not built.
    pub fn version(self, programs: &Programs) -> Result<String> {
        let (program, flag) = match self {
            Self::Ringway | Self::RingwayEpoll | Self::RingwayUring => {
                (programs.ringway.as_path(), "--version")
            }
            Self::Nginx => (Path::new("nginx"), "-v"),
            Self::Haproxy => (Path::new("haproxy"), "-v"),
            Self::Direct => return Ok("no proxy".into()),
        };
        machine::version(program, flag).context(format!("{} ({})", self.name(), program.display()))
    }

    /// The config template for a kind of work (`h1`, `l4`, ...), below `perf/`.
    pub fn template(self, work: &str) -> Option<String> {
        match self {
            Self::Nginx => Some(format!("peers/nginx-{work}.conf")),
            Self::Haproxy => Some(format!("peers/haproxy-{work}.cfg")),
            Self::Direct => None,
            Self::Ringway | Self::RingwayEpoll | Self::RingwayUring => Some(format!("ringway/{work}.yaml")),
        }
    }
}

/// Where the programs under test are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The `ringway` binary.
    pub ringway: PathBuf,
}

/// What a proxy is started with.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// Which config template, e.g. `h1`.
    pub work: &'a str,
    /// What the proxy forwards to.
    pub origin: SocketAddr,
    /// More replacements for the template, `{{NAME}}` to value.
    pub extra: &'a [(&'a str, String)],
    /// The core it is pinned to, if any.
    pub core: Option<usize>,
}

/// A running proxy; it is stopped when dropped.
#[derive(Debug)]
pub struct Running {
    peer: Peer,
    child: Option<Child>,
    address: SocketAddr,
    directory: Directory,
    started: Instant,
}

impl Running {
    /// Starts the proxy and returns at once; `await_listening` follows.
    ///
    /// # Errors
    /// When its config or program is missing.
    pub fn launch(peer: Peer, job: &Job<'_>, programs: &Programs) -> Result<Self> {
        let directory = Directory::new()?;
        let Some(template) = peer.template(job.work) else {
            return Ok(Self { peer, child: None, address: job.origin, directory, started: Instant::now() });
        };
        let address = net::free_address()?;
        let config = fill(&template, address, job, &directory)?;
        let path = directory.path.join(config_name(peer));
        fs::write(&path, config)?;
        let log = fs::File::create(directory.path.join("log"))?;
        let mut command = command(peer, &path, &directory, programs);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let started = Instant::now();
        let spawn = |command: &mut Command| command.spawn().context(format!("start {}", peer.name()));
        let child = match job.core {
            Some(core) => net::pinned(core, || spawn(&mut command))?,
            None => spawn(&mut command)?,
        };
        Ok(Self { peer, child: Some(child), address, directory, started })
    }

    /// Starts the proxy and waits until it accepts connections.
    ///
    /// # Errors
    /// When it does not listen within 10 s; its log is in the message.
    pub fn start(peer: Peer, job: &Job<'_>, programs: &Programs) -> Result<Self> {
        let mut running = Self::launch(peer, job, programs)?;
        running.await_listening()?;
        Ok(running)
    }

    /// Waits until a connection is accepted.
    ///
    /// # Errors
    /// When it ends, or does not listen within 10 s.
    pub fn await_listening(&mut self) -> Result<()> {
        let address = self.address;
        let mut listens = false;
        wait::until(PATIENCE, || {
            listens = TcpStream::connect(address).is_ok();
            listens || self.has_ended()
        });
        if !listens {
            return Err(Failure::new(format!("{} does not listen: {}", self.peer.name(), self.log())));
        }
        Ok(())
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// When the program was executed.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The process and its descendants; none for the direct way.
    pub fn pids(&self) -> Vec<u32> {
        self.child.as_ref().map(|child| procfs::family(child.id())).unwrap_or_default()
    }

    /// What it printed so far, at most the last 2,000 characters.
    pub fn log(&self) -> String {
        let text = fs::read_to_string(self.directory.path.join("log")).unwrap_or_default();
        let skipped = text.chars().count().saturating_sub(2_000);
        text.chars().skip(skipped).collect()
    }

    /// Path of its config file.
    pub fn config(&self) -> PathBuf {
        self.directory.path.join(config_name(self.peer))
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// Sends a signal to the main process.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let Some(child) = &self.child else { return Ok(()) };
        let pid = Pid::from_child(child);
        rustix::process::kill_process(pid, signal).context(format!("signal {}", self.peer.name()))
    }

    /// Waits for the end of the process and returns its exit code.
    ///
    /// # Errors
    /// When it runs on after `patience`.
    pub fn await_end(&mut self, patience: Duration) -> Result<Option<i32>> {
        let Some(child) = self.child.as_mut() else { return Ok(None) };
        let mut ended = None;
        wait::until(patience, || {
            ended = child.try_wait().transpose();
            ended.is_some()
        });
        match ended {
            Some(status) => Ok(status?.code()),
            None => Err(Failure::new(format!("{} still runs after {patience:?}", self.peer.name()))),
        }
    }
}

impl Drop for Running {
    /// SIGTERM, then SIGKILL for what is still there after 10 s (its descendants too).
    fn drop(&mut self) {
        if self.child.is_none() || self.has_ended() {
            return;
        }
        let family = self.pids();
        let stopped = self.signal(Signal::TERM).and_then(|()| self.await_end(PATIENCE));
        if let Err(error) = stopped {
            eprintln!("{error}; killed");
            for pid in family.iter().filter_map(|pid| Pid::from_raw(*pid as i32)) {
                let gone = rustix::process::kill_process(pid, Signal::KILL).is_err();
                debug_assert!(!gone || rustix::process::test_kill_process(pid).is_err());
            }
            if let Some(child) = self.child.as_mut() {
                child.wait().map_or_else(|error| eprintln!("wait: {error}"), drop);
            }
        }
    }
}

/// A fresh directory for one run; removed when dropped.
#[derive(Debug)]
pub struct Directory {
    /// Where it is.
    pub path: PathBuf,
}

impl Directory {
    /// Makes a directory below the system's temporary one.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ringway-perf-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).context(path.display())?;
        Ok(Self { path })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.path).unwrap_or_else(|error| eprintln!("{}: {error}", self.path.display()));
    }
}

/// The directory of this crate: templates, clients and results lie below it.
pub fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A template with every `{{NAME}}` replaced.
///
/// # Errors
/// When the template is missing or names something unknown.
pub fn fill(template: &str, listen: SocketAddr, job: &Job<'_>, directory: &Directory) -> Result<String> {
    let path = home().join(template);
    let mut text = fs::read_to_string(&path).context(path.display())?;
    text = text.replace("{{LISTEN}}", &listen.to_string());
    text = text.replace("{{ORIGIN}}", &job.origin.to_string());
    text = text.replace("{{DIR}}", &directory.path.display().to_string());
    for (name, value) in job.extra {
        text = text.replace(&format!("{{{{{name}}}}}"), value);
    }
    match text.find("{{") {
        Some(at) => Err(Failure::new(format!(
            "{template}: {} is not replaced",
            text[at..].lines().next().unwrap_or("")
        ))),
        None => Ok(text),
    }
}

fn config_name(peer: Peer) -> &'static str {
    if peer.driver().is_some() { "config.yaml" } else { "config" }
}

fn command(peer: Peer, config: &Path, directory: &Directory, programs: &Programs) -> Command {
    let mut command = Command::new(match peer {
        Peer::Nginx => Path::new("nginx"),
        Peer::Haproxy => Path::new("haproxy"),
        _ => &programs.ringway,
    });
    match peer {
        Peer::Nginx => command.arg("-p").arg(&directory.path).arg("-e").arg("stderr").arg("-c").arg(config),
        Peer::Haproxy => command.arg("-db").arg("-f").arg(config),
        _ => command.args(["run", "--workers", "1", "--admin", "off"]).arg("-c").arg(config),
    };
    if let Some(driver) = peer.driver() {
        command.args(["--driver", driver]);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_again() -> Result<()> {
        for peer in Peer::ALL {
            assert_eq!(Peer::named(peer.name())?, peer);
        }
        assert!(Peer::named("ngnix").is_err());
        assert_eq!(Peer::with_driver("uring")?, Peer::RingwayUring);
        Ok(())
    }

    #[test]
    fn every_template_is_there_and_filled() -> Result<()> {
        let (directory, origin) = (Directory::new()?, SocketAddr::from(([127, 0, 0, 1], 9)));
        for peer in Peer::ALL {
            for work in ["l4", "h1"] {
                let Some(template) = peer.template(work) else { continue };
                let job = Job { work, origin, extra: &[], core: None };
                let text = fill(&template, origin, &job, &directory)?;
                assert!(text.contains("127.0.0.1:9"), "{template}");
            }
        }
        Ok(())
    }
    #[test]
    fn every_config_of_ringway_is_valid() -> Result<()> {
        let (directory, origin) = (Directory::new()?, SocketAddr::from(([127, 0, 0, 1], 9)));
        let second = "  second: { address: \"127.0.0.1:10\" }";
        for extra in ["", second] {
            let values = [("EXTRA", extra.to_string()), ("SECONDS", "15".to_string())];
            for file in fs::read_dir(home().join("ringway"))?.flatten() {
                let template = format!("ringway/{}", file.file_name().display());
                let job = Job { work: "any", origin, extra: &values, core: None };
                let text = fill(&template, origin, &job, &directory)?;
                let parsed = ringway_config::parse(&template, &text, ringway_config::Format::Yaml);
                let document = parsed.map_err(|errors| Failure::new(format!("{errors:#?}")))?;
                assert_eq!(
                    document.spec.listeners.len(),
                    1 + usize::from(template.contains("reload") && extra == second)
                );
            }
        }
        Ok(())
    }
}
