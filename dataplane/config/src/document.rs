//! The entry points: text to [`Document`], and a specification back to text.

use std::path::Path;
use std::sync::Arc;

use ringway_policy::compile::Resolved;
use ringway_policy::snapshot::Snapshot;
use ringway_policy::spec::Spec;

use crate::error::{ConfigError, Problem, locate};
use crate::schema::{self, Root};
use crate::tree::Node;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// YAML 1.2 (and so JSON).
    #[default]
    Yaml,
    /// TOML 1.1.
    Toml,
}

impl Format {
    /// TOML for the extension `toml` in any case, YAML for every other file.
    pub fn from_path(path: &Path) -> Format {
        let toml = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
        if toml { Format::Toml } else { Format::Yaml }
    }
}

/// A file that was read without errors.
#[derive(Clone, Debug)]
pub struct Document {
    /// What it says, with every default filled in.
    pub spec: Spec,
    /// What is not wrong but probably not meant, sorted by position.
    pub warnings: Vec<ConfigError>,
    file: Arc<str>,
    text: Arc<str>,
    tree: Node,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

/// Reads a file. `file_name` is used in messages only.
///
/// # Errors
/// Everything that is wrong with it, sorted by position; after a syntax error only that.
pub fn parse(file_name: &str, text: &str, format: Format) -> Result<Document, Vec<ConfigError>> {
    let file: Arc<str> = file_name.into();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (tree, syntax_errors) = Node::read(text, format);
    let mut problems: Vec<Problem> = Vec::new();
    for error in syntax_errors {
        problems.push(Problem {
            span: error.span,
            path: error.path,
            message: error.message,
            suggestion: None,
        });
    }
    let Some(tree) = tree else { return Err(locate(&file, text, problems)) };
    let mut read = Root::read(&tree);
    problems.append(&mut read.problems);
    if !problems.is_empty() {
        return Err(locate(&file, text, problems));
    }
    let warnings = locate(&file, text, read.warnings);
    Ok(Document { spec: read.spec, warnings, file, text: text.into(), tree })
}

impl Document {
    /// The name the file was given.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Whether the file itself has the key (`admin`, `drain.delay`), which tells a default from the same value written.
    pub fn has(&self, key_path: &str) -> bool {
        self.tree.find(key_path).1
    }

    /// Where `key_path` (`routes[2].path.prefix`) stands; for a key that is not in the file, its nearest ancestor.
    pub fn position(&self, key_path: &str) -> Position {
        let (span, _) = self.tree.find(key_path);
        Position { line: span.line, column: span.column }
    }

    /// An error at `key_path` found after parsing.
    pub fn error(
        &self,
        key_path: &str,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) -> ConfigError {
        let (span, _) = self.tree.find(key_path);
        let problem = Problem { span, path: key_path.into(), message: message.into(), suggestion };
        let mut errors = locate(&self.file, &self.text, vec![problem]);
        errors.remove(0)
    }
}

/// Compiles what a document says. The caller may have changed `document.spec` (command line, defaults of its own).
///
/// # Errors
/// What only compiling finds, such as regular expressions, at its position in the file.
pub fn compile(
    document: &Document,
    resolved: &Resolved,
    previous: Option<&Snapshot>,
    generation: u64,
) -> Result<Snapshot, Vec<ConfigError>> {
    Snapshot::compile(&document.spec, resolved, previous, generation).map_err(|errors| {
        let problem = |error: ringway_policy::compile::CompileError| {
            let (span, _) = document.tree.find(&error.path);
            Problem { span, path: error.path, message: error.message, suggestion: error.suggestion }
        };
        locate(&document.file, &document.text, errors.into_iter().map(problem).collect())
    })
}

/// Every effective value of `spec` as YAML, which [`parse`] reads back to the same specification.
pub fn dump_yaml(spec: &Spec) -> String {
    schema::show(&Root::of(spec)).to_yaml()
}

/// The same as JSON, which [`parse`] reads as YAML.
pub fn dump_json(spec: &Spec) -> String {
    schema::show(&Root::of(spec)).to_json()
}
