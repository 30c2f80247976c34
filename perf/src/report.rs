//! Result files: the machine, the versions, then sections of plain text tables; figures beside them as JSON.

use crate::{
    failure::{Context, Result},
    machine::{self, Machine},
    proxy::{Peer, Programs, home},
    table::Table,
};
use serde::Serialize;
use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

/// One result file under construction.
pub struct Report {
    kind: &'static str,
    machine: Machine,
    versions: Vec<(&'static str, String)>,
    text: String,
    figures: serde_json::Map<String, serde_json::Value>,
}

#[derive(Serialize)]
struct Document<'a> {
    machine: &'a Machine,
    versions: &'a [(&'static str, String)],
    figures: &'a serde_json::Map<String, serde_json::Value>,
}

impl Report {
    /// A report of one kind (`compare`, `soak`, ...) about these peers.
    ///
    /// # Errors
    /// When a peer's program is missing.
    pub fn new(kind: &'static str, peers: &[Peer], programs: &Programs) -> Result<Self> {
        let mut versions = Vec::new();
        for peer in peers.iter().filter(|peer| **peer != Peer::Direct) {
            versions.push((peer.name(), peer.version(programs)?));
        }
        let machine = machine::inspect();
        Ok(Self { kind, machine, versions, text: String::new(), figures: serde_json::Map::new() })
    }

    /// Adds text under a heading and prints it.
    pub fn section(&mut self, title: &str, text: &str) {
        let section = format!("\n## {title}\n\n{}\n", text.trim_end());
        print!("{section}");
        self.text.push_str(&section);
    }

    /// Adds figures to the JSON file.
    ///
    /// # Errors
    /// When they cannot be expressed in JSON.
    pub fn figures(&mut self, name: &str, figures: &impl Serialize) -> Result<()> {
        self.figures.insert(name.into(), serde_json::to_value(figures).context("figures")?);
        Ok(())
    }

    /// Writes `results/KIND-TIME.md` and `.json`, or appends the text to the file `into`. Returns the path of the text.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn save(&self, into: Option<&str>) -> Result<PathBuf> {
        if let Some(path) = into {
            let mut file = OpenOptions::new().append(true).open(path).context(path)?;
            writeln!(file, "\n{}{}", self.facts(), self.text).context(path)?;
            println!("\nappended to {path}");
            return Ok(path.into());
        }
        let stamp = machine::utc(self.machine.unix_time).replace([':', '-'], "");
        let directory = home().join("results");
        fs::create_dir_all(&directory).context(directory.display())?;
        let path = directory.join(format!("{}-{stamp}.md", self.kind));
        fs::write(&path, format!("# {}\n\n{}{}", self.kind, self.facts(), self.text))
            .context(path.display())?;
        let document = Document { machine: &self.machine, versions: &self.versions, figures: &self.figures };
        let json = serde_json::to_string_pretty(&document).context("figures")?;
        fs::write(path.with_extension("json"), json + "\n").context("figures")?;
        println!("\nwritten: {}", display(&path));
        Ok(path)
    }

    fn facts(&self) -> String {
        let machine = &self.machine;
        let mut table = Table::new(&["what", "value"]);
        table.row(["command", &machine.command]);
        table.row(["commit", &machine.commit]);
        table.row(["time", &machine::utc(machine.unix_time)]);
        for (name, version) in &self.versions {
            table.row([*name, version]);
        }
        table.row(["kernel", &machine.kernel]);
        table.row(["processor", &format!("{} ({} cores)", machine.cpu, machine.cores)]);
        table.row([
            "cpuidle driver / governor",
            &format!("{} / {}", machine.cpuidle_driver, machine.cpuidle_governor),
        ]);
        table.row(["guest_halt_poll_ns", &machine.guest_halt_poll_ns]);
        table.row(["TCP congestion control", &machine.congestion_control]);
        table.row(["load average before", &machine.load_average]);
        table.row(["open files, limit", &machine.files.to_string()]);
        table.render()
    }
}

fn display(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| format!("perf/results/{}", name.to_string_lossy()))
}
