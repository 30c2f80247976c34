//! The command line: `--name value` pairs checked against the names a subcommand knows.

use crate::{
    failure::{Context, Failure, Result},
    proxy::{Peer, Programs},
};
use std::{collections::BTreeMap, str::FromStr};

/// Flags of one subcommand.
#[derive(Debug)]
pub struct Flags {
    values: BTreeMap<String, String>,
}

impl Flags {
    /// Reads `--name value` and `--name=value`; a name that is not `known` is an error.
    ///
    /// # Errors
    /// Unknown names, missing values, words that are no flag.
    pub fn parse(words: &[String], known: &[&str]) -> Result<Self> {
        let mut values = BTreeMap::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--") else {
                return Err(Failure::new(format!("`{word}` is not a flag")));
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_string())),
                None => (flag, words.next().cloned()),
            };
            if !known.contains(&name) {
                return Err(Failure::new(format!("no flag `--{name}`; there are --{}", known.join(", --"))));
            }
            let value = value.ok_or_else(|| Failure::new(format!("`--{name}` needs a value")))?;
            values.insert(name.to_string(), value);
        }
        Ok(Self { values })
    }

    /// The value of a flag, or the default.
    ///
    /// # Errors
    /// When it does not parse.
    pub fn get<T: FromStr>(&self, name: &str, default: T) -> Result<T>
    where
        T::Err: std::fmt::Display,
    {
        self.values.get(name).map_or(Ok(default), |text| text.parse().context(format!("--{name} {text}")))
    }

    /// The value of a flag as text, if given.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// A comma-separated list, or the default.
    ///
    /// # Errors
    /// When an entry does not parse.
    pub fn list<T>(&self, name: &str, default: &str, parse: fn(&str) -> Result<T>) -> Result<Vec<T>> {
        self.text(name).unwrap_or(default).split(',').map(parse).collect()
    }

    /// The programs under test: `--ringway-bin`, or the release build of this workspace.
    ///
    /// # Errors
    /// Never; a missing binary is reported when it is needed.
    pub fn programs(&self) -> Result<Programs> {
        let built = crate::proxy::home().join("../target/release/ringway");
        Ok(Programs { ringway: self.get("ringway-bin", built)? })
    }

    /// Ringway with the drivers of `--driver` (`epoll,uring`); or the peers of `--peers`; or Ringway on both drivers.
    ///
    /// # Errors
    /// When a name is unknown.
    pub fn drivers(&self) -> Result<Vec<Peer>> {
        match self.text("driver") {
            Some(drivers) => drivers.split(',').map(Peer::with_driver).collect(),
            None => self.peers("ringway-epoll,ringway-uring"),
        }
    }

    /// The peers of `--peers`.
    ///
    /// # Errors
    /// When a name is unknown.
    pub fn peers(&self, default: &str) -> Result<Vec<Peer>> {
        self.list("peers", default, Peer::named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(ToString::to_string).collect()
    }

    #[test]
    fn both_spellings_defaults_and_lists() -> Result<()> {
        let flags =
            Flags::parse(&words("--rounds 3 --peers=nginx,haproxy"), &["rounds", "peers", "seconds"])?;
        assert_eq!(flags.get("rounds", 9)?, 3);
        assert_eq!(flags.get("seconds", 2.5)?, 2.5);
        assert_eq!(flags.peers("ringway")?, [Peer::Nginx, Peer::Haproxy]);
        Ok(())
    }

    #[test]
    fn unknown_missing_and_bad_values_are_errors() {
        let known = ["rounds"];
        assert!(Flags::parse(&words("--round 3"), &known).is_err());
        assert!(Flags::parse(&words("--rounds"), &known).is_err());
        assert!(Flags::parse(&words("rounds"), &known).is_err());
        let flags = Flags::parse(&words("--rounds many"), &known);
        assert!(flags.is_ok_and(|flags| flags.get("rounds", 1u32).is_err()));
    }
}
