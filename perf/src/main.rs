//! `ringway-perf`: the command line of the rig.
#![forbid(unsafe_code)]

use ringway_perf::{
    bulk, check, cli::Flags, compare, failure::Result, idle, profile, reload, soak, start, syscalls,
};
use std::process::ExitCode;

/// A subcommand: name, what it does, its flags, its function.
struct Command {
    name: &'static str,
    about: &'static str,
    flags: &'static [&'static str],
    run: fn(&Flags) -> Result<()>,
}

const COMMANDS: [Command; 12] = [
    Command { name: "check", about: "prerequisites and versions", flags: &check::FLAGS, run: check::run },
    Command {
        name: "compare",
        about: "CPU per request, side by side",
        flags: &compare::FLAGS,
        run: compare::run,
    },
    Command {
        name: "syscalls",
        about: "system calls per request",
        flags: &syscalls::FLAGS,
        run: syscalls::run,
    },
    Command { name: "profile", about: "where the CPU time goes", flags: &profile::FLAGS, run: profile::run },
    Command {
        name: "soak",
        about: "a million requests of real clients",
        flags: &soak::FLAGS,
        run: soak::run,
    },
    Command {
        name: "bulk",
        about: "1 GiB each way against a slow reader",
        flags: &bulk::FLAGS,
        run: bulk::run,
    },
    Command { name: "idle", about: "memory per idle connection", flags: &idle::FLAGS, run: idle::run },
    Command {
        name: "idle-clients",
        about: "(child of idle)",
        flags: &idle::CLIENT_FLAGS,
        run: idle::clients,
    },
    Command { name: "reload", about: "50 reloads under load", flags: &reload::FLAGS, run: reload::run },
    Command { name: "drain", about: "SIGTERM under load", flags: &reload::FLAGS, run: reload::drain },
    Command {
        name: "start",
        about: "time to the first answer, memory",
        flags: &start::FLAGS,
        run: start::run,
    },
    Command {
        name: "origin",
        about: "only the origin, until killed",
        flags: &start::ORIGIN_FLAGS,
        run: start::origin,
    },
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(command) = words.first().and_then(|word| COMMANDS.iter().find(|one| one.name == word)) else {
        eprintln!("usage: ringway-perf COMMAND [--flag value]...");
        for command in &COMMANDS {
            let flags: Vec<String> = command.flags.iter().map(|flag| format!("--{flag}")).collect();
            eprintln!("  {:<13} {:<38} {}", command.name, command.about, flags.join(" "));
        }
        return ExitCode::from(2);
    };
    let flags = match Flags::parse(&words[1..], command.flags) {
        Ok(flags) => flags,
        Err(error) => {
            eprintln!("{}: {error}", command.name);
            return ExitCode::from(2);
        }
    };
    match (command.run)(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{} failed: {error}", command.name);
            ExitCode::FAILURE
        }
    }
}
