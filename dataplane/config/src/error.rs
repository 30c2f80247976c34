//! What is wrong with a file, and where: the one error type of this crate, and how it is shown.

use std::fmt;
use std::sync::Arc;

use crate::tree::Span;

/// One thing wrong with a file. [`fmt::Display`] gives
/// `file:line:column: key.path: message (did you mean ...?)` and the source line with a caret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// As the caller named it.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// Such as `routes[2].path.prefix`; empty for the file as a whole.
    pub path: String,
    /// What is wrong, without position and suggestion.
    pub message: String,
    /// The nearest valid name or value, where one is near.
    pub suggestion: Option<String>,
    /// The line of the file, shortened around the column where it is long.
    source: Excerpt,
}

/// A part of a source line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Excerpt {
    text: String,
    /// Characters of `text` before the caret.
    indent: usize,
    /// Carets.
    width: usize,
}

impl ConfigError {
    /// The one-line form, without the source line.
    pub fn headline(&self) -> String {
        let mut line = format!("{}:{}:{}: ", self.file, self.line, self.column);
        if !self.path.is_empty() {
            line.push_str(&self.path);
            line.push_str(": ");
        }
        line.push_str(&self.message);
        if let Some(suggestion) = &self.suggestion {
            line.push_str(&format!(" (did you mean `{suggestion}`?)"));
        }
        line
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())?;
        if self.source.text.trim().is_empty() {
            return Ok(());
        }
        let number = self.line.to_string();
        let (margin, indent) = (" ".repeat(number.len()), " ".repeat(self.source.indent));
        write!(f, "\n {number} | {}", self.source.text)?;
        write!(f, "\n {margin} | {indent}{}", "^".repeat(self.source.width))
    }
}

impl std::error::Error for ConfigError {}

/// A finding not yet tied to its file.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) span: Span,
    pub(crate) path: String,
    pub(crate) message: String,
    pub(crate) suggestion: Option<String>,
}

/// Ties problems to their file, sorted by position, each once.
pub(crate) fn locate(file: &Arc<str>, text: &str, mut problems: Vec<Problem>) -> Vec<ConfigError> {
    problems.sort_by(|a, b| (a.span, &a.path).cmp(&(b.span, &b.path)));
    let mut lines = text.lines().enumerate();
    let mut current: Option<(usize, &str)> = None;
    let mut errors: Vec<ConfigError> = Vec::with_capacity(problems.len());
    for problem in problems {
        let wanted = (problem.span.line as usize).saturating_sub(1);
        if current.is_none_or(|(at, _)| at < wanted) {
            current = lines.by_ref().find(|(at, _)| *at == wanted);
        }
        let line = current.filter(|(at, _)| *at == wanted).map_or("", |(_, line)| line);
        let error = ConfigError {
            file: file.clone(),
            line: problem.span.line,
            column: problem.span.column,
            path: problem.path,
            message: problem.message,
            suggestion: problem.suggestion,
            source: excerpt(line, problem.span),
        };
        if errors.last() != Some(&error) {
            errors.push(error);
        }
    }
    errors
}

fn excerpt(line: &str, span: Span) -> Excerpt {
    const CHARACTERS_MAX: usize = 100;
    const BEFORE_MAX: usize = 50;
    let characters: Vec<char> =
        line.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    let at = (span.column as usize).saturating_sub(1).min(characters.len());
    let from = if characters.len() > CHARACTERS_MAX { at.saturating_sub(BEFORE_MAX) } else { 0 };
    let to = characters.len().min(from + CHARACTERS_MAX);
    let width = (span.len as usize).clamp(1, (to - at.min(to)).max(1));
    Excerpt {
        text: characters[from..to].iter().collect::<String>().trim_end().into(),
        indent: at - from,
        width,
    }
}
