//! The length ratchet: files up to 800 lines without their tests, functions up to 70. Exceptions stand in a committed
//! file with their present size, and may only shrink.

use std::collections::BTreeMap;

use crate::source::Source;

pub(crate) const FILE_LINES_MAX: usize = 800;
pub(crate) const FUNCTION_LINES_MAX: usize = 70;
pub(crate) const RATCHET_PATH: &str = "conformance/tidy-ratchet.toml";

type Sizes = BTreeMap<String, usize>;

/// The exceptions: `[files]` by path, `[functions]` by `path::name`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ratchet {
    pub(crate) files: Sizes,
    pub(crate) functions: Sizes,
}

impl Ratchet {
    /// Reads the ratchet file: two sections of `"key" = lines` and comments.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut ratchet = Self::default();
        let mut section: Option<&mut Sizes> = None;
        for (i, line) in text.lines().map(str::trim).enumerate() {
            let wrong = || format!("{RATCHET_PATH}:{}: expected `\"path\" = lines`, found `{line}`", i + 1);
            match line {
                "" => {}
                _ if line.starts_with('#') => {}
                "[files]" => section = Some(&mut ratchet.files),
                "[functions]" => section = Some(&mut ratchet.functions),
                _ => {
                    let (key, lines) = line.split_once(" = ").ok_or_else(wrong)?;
                    let lines = lines.parse().map_err(|_| wrong())?;
                    let sizes = section.as_mut().ok_or_else(wrong)?;
                    if sizes.insert(key.trim_matches('"').to_owned(), lines).is_some() {
                        return Err(format!("{RATCHET_PATH}:{}: {key} stands twice", i + 1));
                    }
                }
            }
        }
        Ok(ratchet)
    }

    /// The sizes as they are now: what is over its limit.
    pub(crate) fn measure(sources: &[Source]) -> Self {
        let mut now = Self::default();
        for source in sources {
            let lines = source.counted_lines();
            if lines > FILE_LINES_MAX {
                now.files.insert(source.path.clone(), lines);
            }
            for function in source.functions().into_iter().filter(|f| f.lines > FUNCTION_LINES_MAX) {
                let size = now.functions.entry(format!("{}::{}", source.path, function.name)).or_default();
                *size = function.lines.max(*size);
            }
        }
        now
    }

    /// What is wrong with `now` when `self` is what was committed.
    pub(crate) fn violations(&self, now: &Self) -> Vec<String> {
        let mut found = compare(&self.files, &now.files, FILE_LINES_MAX);
        found.extend(compare(&self.functions, &now.functions, FUNCTION_LINES_MAX));
        found
    }
}

fn compare(committed: &Sizes, now: &Sizes, limit: usize) -> Vec<String> {
    let mut found = Vec::new();
    for (key, &lines) in now {
        match committed.get(key) {
            None => found.push(format!("{key}: {lines} lines, the limit is {limit}: split it")),
            Some(&was) if lines > was => {
                found.push(format!("{key}: grew from {was} to {lines} lines, the limit is {limit}"))
            }
            Some(&was) if lines < was => {
                found.push(format!("{key}: shrank from {was} to {lines} lines: lower it in {RATCHET_PATH}"));
            }
            Some(_) => {}
        }
    }
    let gone = committed.keys().filter(|key| !now.contains_key(*key));
    found.extend(
        gone.map(|key| format!("{key}: within the limit of {limit} now: remove it from {RATCHET_PATH}")),
    );
    found
}

#[cfg(test)]
fn of(files: &[(&str, usize)]) -> Ratchet {
    let files = files.iter().map(|(path, lines)| ((*path).to_owned(), *lines)).collect();
    Ratchet { files, functions: Sizes::new() }
}

#[test]
fn new_and_grown_sizes_fail() {
    assert_eq!(of(&[]).violations(&of(&[("a.rs", 801)])).len(), 1);
    assert_eq!(of(&[("a.rs", 801)]).violations(&of(&[("a.rs", 802)])).len(), 1);
    assert_eq!(of(&[("a.rs", 801)]).violations(&of(&[("a.rs", 801)])).len(), 0);
}

#[test]
fn shrinking_demands_lowering() {
    let lower = of(&[("a.rs", 900)]).violations(&of(&[("a.rs", 850)]));
    assert!(lower.len() == 1 && lower[0].contains("lower it"), "{lower:?}");
    let remove = of(&[("a.rs", 900)]).violations(&of(&[]));
    assert!(remove.len() == 1 && remove[0].contains("remove it"), "{remove:?}");
}

#[test]
fn long_files_and_functions_are_measured() {
    let long = format!("fn long() {{\n{}}}\n", "    x();\n".repeat(FUNCTION_LINES_MAX - 1));
    let just = format!("fn just() {{\n{}}}\n", "    x();\n".repeat(FUNCTION_LINES_MAX - 2));
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "// x\n".repeat(FILE_LINES_MAX));
    let now = Ratchet::measure(&[
        Source::scan("src/long.rs", &long),
        Source::scan("src/just.rs", &just),
        Source::scan("src/tested.rs", &format!("fn a() {{}}\n{tests}")),
        Source::scan("src/file.rs", &"// x\n".repeat(FILE_LINES_MAX + 1)),
    ]);
    assert_eq!(now.functions, Sizes::from([("src/long.rs::long".to_owned(), FUNCTION_LINES_MAX + 1)]));
    assert_eq!(now.files, Sizes::from([("src/file.rs".to_owned(), FILE_LINES_MAX + 1)]));
}

#[test]
fn the_ratchet_file_is_read_strictly() {
    let text = "# why\n[files]\n\"a.rs\" = 900\n\n[functions]\n\"a.rs::f\" = 80\n";
    let ratchet = Ratchet::parse(text).expect("well-formed");
    assert_eq!(ratchet.files["a.rs"], 900);
    assert_eq!(ratchet.functions["a.rs::f"], 80);
    for wrong in
        ["\"a.rs\" = 1\n", "[files]\n\"a.rs\" = many\n", "[files]\nx\n", "[files]\n\"a\" = 1\n\"a\" = 2\n"]
    {
        assert!(Ratchet::parse(wrong).is_err(), "{wrong}");
    }
}
