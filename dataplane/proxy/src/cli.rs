//! The command line: what can be asked of `ringway`, and the texts that explain it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use ringway_policy::spec::{Address, DriverChoice};

use crate::address;

/// The command line as parsed.
#[derive(Debug, Parser)]
#[command(
    name = "ringway",
    version,
    about = "A thread-per-core proxy for TCP and HTTP/1.1",
    long_about = "A thread-per-core proxy for TCP and HTTP/1.1.\n\nWithout a configuration it shows itself: a proxy on \
                  127.0.0.1:8080 in front of two sample services, with the admin page on 127.0.0.1:9901.",
    after_help = AFTER_HELP,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do; `run` when none is named.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of `run`.
    #[command(flatten)]
    pub run: RunArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy (the default command)
    #[command(after_help = AFTER_HELP)]
    Run(RunArgs),
    /// Check a configuration file: every error with line, column and key, or a summary
    #[command(after_help = "Exit codes: 0 the file is good, 1 it is not.")]
    Check {
        /// Configuration file (YAML, or TOML by its extension)
        file: PathBuf,
    },
    /// Show which listener, route and cluster a request would take, and why the others lost
    #[command(after_help = EXPLAIN_HELP)]
    Explain(ExplainArgs),
}

/// What `run` takes.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// Configuration file (YAML, or TOML by its extension); watched, and read again on SIGHUP
    #[arg(short, long, value_name = "FILE", conflicts_with = "to")]
    pub config: Option<PathBuf>,
    /// Proxy 127.0.0.1:8080 to this address, without a configuration file: 127.0.0.1:3000, name:3000, 3000, unix:/path
    #[arg(long, value_name = "ADDR", value_parser = address::upstream)]
    pub to: Option<Address>,
    /// Worker threads: a number, or auto = the CPUs this process may use
    #[arg(long, value_name = "N|auto", value_parser = workers)]
    pub workers: Option<Workers>,
    /// How workers talk to the kernel; auto = io_uring where its self-test passes, else epoll
    #[arg(long, value_name = "auto|uring|epoll", value_parser = driver)]
    pub driver: Option<DriverChoice>,
    /// Admin API and page (changes and dumps: keep it local); default 127.0.0.1:9901
    #[arg(long, value_name = "ADDR|unix:PATH|off", value_parser = local)]
    pub admin: Option<Local>,
    /// Read-only /ready, /live and /metrics for probes and scrapers; any address; default off
    #[arg(long, value_name = "ADDR", value_parser = local)]
    pub telemetry: Option<Local>,
}

/// What `explain` takes.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Request method, such as GET
    pub method: String,
    /// URL: <http://host:port/path?query>; without a port, any listener may take it
    pub url: String,
    /// A header field of the request; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
}

/// A worker count as given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// The CPUs this process may use.
    Auto,
    /// This many.
    Count(u32),
}

/// A local address as given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Local {
    /// Not at all.
    Off,
    /// There.
    At(Address),
}

const AFTER_HELP: &str = "\
Signals: TERM and INT drain (a second one ends at once), HUP reads the configuration again, USR1 reopens logs.
Exit codes: 0 done or drained, 1 configuration, 2 usage, 3 cannot bind, 4 drain cut short, 5 workers failed.

Try:
  ringway                           a demonstration with two built-in sample services
  ringway --to 127.0.0.1:3000       a real service, at http://127.0.0.1:8080/
  ringway -c ringway.yaml           a configuration file
  ringway check ringway.yaml        is it right?
  ringway explain -c ringway.yaml GET http://example.com/api -H 'X-User: me'";

const EXPLAIN_HELP: &str = "\
Example:
  ringway explain -c ringway.yaml GET 'http://example.com/api/v1?user=7' -H 'X-Canary: yes'";

fn workers(text: &str) -> Result<Workers, String> {
    match text {
        "auto" => Ok(Workers::Auto),
        _ => match text.parse() {
            Ok(n) if (1..=crate::cpus::WORKERS_MAX as u32).contains(&n) => Ok(Workers::Count(n)),
            _ => Err(format!("expected auto or 1 to {}", crate::cpus::WORKERS_MAX)),
        },
    }
}

fn driver(text: &str) -> Result<DriverChoice, String> {
    match text {
        "auto" => Ok(DriverChoice::Auto),
        "uring" => Ok(DriverChoice::Uring),
        "epoll" => Ok(DriverChoice::Epoll),
        _ => Err("expected auto, uring or epoll".to_string()),
    }
}

fn local(text: &str) -> Result<Local, String> {
    Ok(address::local(text)?.map_or(Local::Off, Local::At))
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.is_empty() && !name.contains(' ') => {
            Ok((name.to_string(), value.trim().to_string()))
        }
        _ => Err("expected NAME: VALUE".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_is_the_default_command() {
        let cli = Cli::try_parse_from(["ringway", "--workers", "2", "--admin", "off"]).expect("parses");
        assert!(cli.command.is_none());
        assert_eq!((cli.run.workers, cli.run.admin), (Some(Workers::Count(2)), Some(Local::Off)));
        let cli = Cli::try_parse_from(["ringway", "run", "-c", "x.yaml"]).expect("parses");
        assert!(matches!(cli.command, Some(Command::Run(run)) if run.config.is_some()));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for line in [
            &["ringway", "-c", "a", "--to", "1"][..],
            &["ringway", "--workers", "0"],
            &["ringway", "--driver", "kqueue"],
            &["ringway", "--admin", "everywhere"],
            &["ringway", "--admin", "off", "check", "a"],
            &["ringway", "explain", "GET", "http://a/"],
            &["ringway", "explain", "-c", "a", "GET", "http://a/", "-H", "no colon"],
        ] {
            assert!(Cli::try_parse_from(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
