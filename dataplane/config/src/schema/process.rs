//! Process-wide sections: drain, limits, access log.

use ringway_policy::spec::{AccessLog, Drain, DriverChoice, Idle, LogFormat, Process};

use super::{Choice, Key, Kind, Section, Value, index, names, pick, rules};

const DAY_MS: u64 = 86_400_000;
const TIB: u64 = 1 << 40;

impl Choice for DriverChoice {
    const TABLE: &'static [(&'static str, Self)] =
        &[("auto", DriverChoice::Auto), ("uring", DriverChoice::Uring), ("epoll", DriverChoice::Epoll)];
}

impl Choice for Idle {
    const TABLE: &'static [(&'static str, Self)] =
        &[("wait", Idle::Wait), ("spin", Idle::Spin), ("poll", Idle::Poll)];
}

impl Choice for LogFormat {
    const TABLE: &'static [(&'static str, Self)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
}

impl Section for Drain {
    const ID: &'static str = "drain";
    const DOC: &'static str = "What happens on SIGTERM, SIGINT or `POST /drain`: readiness fails, listeners stay open \
        for `delay`, then close; exchanges in progress finish until `timeout`.";
    const KEYS: &'static [Key<Self>] = &[
        Key::<Self>::leaf(
            "delay",
            Kind::Duration { min: 0, max: DAY_MS },
            |drain, value| drain.delay_ms = value.int(),
            |drain| drain.delay_ms.into(),
            "Listeners stay open this long after readiness fails, so that load balancers notice first.",
        ),
        Key::<Self>::leaf(
            "timeout",
            Kind::Duration { min: 0, max: DAY_MS },
            |drain, value| drain.timeout_ms = value.int(),
            |drain| drain.timeout_ms.into(),
            "After this, counted from the end of `delay`, what is still active is cut off.",
        ),
    ];

    fn blank() -> Self {
        Drain::default()
    }
}

/// The process-wide `limits`.
pub(super) struct Limits {
    connections: Option<u64>,
    memory: Option<u64>,
}

impl Limits {
    pub(super) fn of(process: &Process) -> Limits {
        Limits { connections: process.connections_max, memory: process.memory_max }
    }

    pub(super) fn store(self, process: &mut Process) {
        process.connections_max = self.connections;
        process.memory_max = self.memory;
    }
}

impl Section for Limits {
    const ID: &'static str = "limits";
    const DOC: &'static str = "Limits of the whole process. At a limit idle keep-alive connections close first, oldest \
        first, then no more are accepted until some end.";
    const KEYS: &'static [Key<Self>] = &[
        Key::<Self>::optional(
            "connections",
            Kind::Int { min: 1, max: 100_000_000 },
            "auto",
            |limits, value| limits.connections = value.opt_int(),
            |limits| limits.connections.into(),
            "Downstream connections. `auto`: from the limit of open files, with some kept for upstreams and logs.",
        ),
        Key::<Self>::optional(
            "memory",
            Kind::Size { min: 1 << 20, max: 16 * TIB },
            "off",
            |limits, value| limits.memory = value.opt_int(),
            |limits| limits.memory.into(),
            "Memory of buffers and sessions before load is shed.",
        ),
    ];

    fn blank() -> Self {
        Limits::of(&Process::default())
    }
}

impl Section for AccessLog {
    const ID: &'static str = "access_log";
    const DOC: &'static str = "One line for each exchange. SIGUSR1 reopens the file.";
    const KEYS: &'static [Key<Self>] = &[
        Key::<Self>::optional(
            "path",
            Kind::Text(&rules::FILE),
            "stdout",
            |log, value| log.path = value.opt_text(),
            |log| log.path.as_ref().into(),
            "Absolute path of a file to append to.",
        ),
        Key::<Self>::leaf(
            "format",
            Kind::Choice(names::<LogFormat>),
            |log, value| log.format = pick(value),
            |log| index(log.format),
            "`text`: one line of space-separated values; `json`: one object a line.",
        ),
    ];

    fn blank() -> Self {
        AccessLog { path: None, format: LogFormat::default() }
    }
}

/// Keys of the process at the top level of the file; `process` leads from the file to it.
pub(super) const WORKERS: Kind = Kind::Int { min: 1, max: 1024 };

pub(super) fn set_workers(process: &mut Process, value: Value) {
    process.workers = value.opt_int().and_then(|workers| u32::try_from(workers).ok());
}
