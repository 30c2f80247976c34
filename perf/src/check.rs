//! Prerequisites: programs, versions, limits, cores.

use crate::{
    cli::Flags,
    failure::{Failure, Result},
    machine, net,
    proxy::{Peer, Programs},
    table::Table,
};
use std::path::Path;

/// The flags of the subcommand.
pub const FLAGS: [&str; 1] = ["ringway-bin"];

/// Open files that 10,000 idle connections through one proxy process need.
const FILES_MIN: u64 = 12_000;

/// Runs the subcommand.
///
/// # Errors
/// When something needed is missing.
pub fn run(flags: &Flags) -> Result<()> {
    let programs = flags.programs()?;
    let mut table = Table::new(&["what", "found", "enough"]);
    let mut missing = 0;
    let mut row = |what: &str, found: String, enough: bool| {
        missing += usize::from(!enough);
        table.row([what, &found, if enough { "yes" } else { "NO" }]);
    };
    for peer in [Peer::Ringway, Peer::Nginx, Peer::Haproxy] {
        let found = peer.version(&programs);
        row(peer.name(), found.as_ref().map_or_else(ToString::to_string, Clone::clone), found.is_ok());
    }
    for (program, flag) in TOOLS {
        let found = machine::version(Path::new(program), flag);
        row(program, found.as_ref().map_or_else(ToString::to_string, Clone::clone), found.is_ok());
    }
    let websockets = python_websockets();
    row("python3-websockets", websockets.clone().unwrap_or("not installed".into()), websockets.is_some());
    let stream = Path::new("/usr/lib/nginx/modules/ngx_stream_module.so").exists();
    row("libnginx-mod-stream", stream.to_string(), stream);
    let files = net::raise_files();
    row("open files", files.to_string(), files >= FILES_MIN);
    let cores = machine::inspect().cores;
    row("cores", cores.to_string(), cores >= 2);
    print!("{}", table.render());
    match missing {
        0 => Ok(()),
        missing => {
            Err(Failure::new(format!("{missing} missing; `perf/install` installs the Debian packages")))
        }
    }
}

/// What the subcommands use, and how each prints its version.
const TOOLS: [(&str, &str); 5] =
    [("wrk", "-v"), ("h2load", "--version"), ("curl", "--version"), ("strace", "-V"), ("perf", "--version")];

fn python_websockets() -> Option<String> {
    let code = "import websockets.version as v; print(v.version)";
    let output = std::process::Command::new("/usr/bin/python3").args(["-c", code]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// The peers' programs as a sentence, for reports of subcommands that use only Debian's.
///
/// # Errors
/// When one is missing.
pub fn debian_versions(programs: &Programs) -> Result<String> {
    Ok(format!("{}; {}", Peer::Nginx.version(programs)?, Peer::Haproxy.version(programs)?))
}
