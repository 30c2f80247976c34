//! From the command line to the command.

use std::path::Path;

use clap::Parser;

use crate::cli::{Cli, Command, ExplainArgs, RunArgs};
use crate::control::{self, Options};
use crate::exit::Exit;
use crate::explain;
use crate::source::Source;

/// Parses the command line and carries it out. `--help` and `--version` end with 0, mistakes with 2, both inside clap.
pub fn main() -> Exit {
    let cli = Cli::parse();
    match cli.command {
        None => run(cli.run),
        Some(Command::Run(args)) => run(args),
        Some(Command::Check { file }) => check(&file),
        Some(Command::Explain(args)) => explain_request(&args),
    }
}

fn run(args: RunArgs) -> Exit {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let backtrace = std::backtrace::Backtrace::capture();
        crate::error!("panic in {}: {panic}\n{backtrace}", thread.name().unwrap_or("a thread"));
    }));
    control::run(Options { source: Source::of(&args), args, dns_servers: None, body: None })
}

fn check(file: &Path) -> Exit {
    match explain::load(file) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                eprintln!("warning: {warning}");
            }
            print!("{}", explain::summary(file, &loaded.spec));
            Exit::Done
        }
        Err(errors) => {
            eprintln!("{errors}");
            Exit::Config
        }
    }
}

fn explain_request(args: &ExplainArgs) -> Exit {
    let question = match explain::question(&args.method, &args.url, &args.headers) {
        Ok(question) => question,
        Err(why) => {
            eprintln!("{why}");
            return Exit::Usage;
        }
    };
    match explain::load(&args.config) {
        Ok(loaded) => {
            print!("{}", explain::report(&loaded, &question));
            Exit::Done
        }
        Err(errors) => {
            eprintln!("{errors}");
            Exit::Config
        }
    }
}
