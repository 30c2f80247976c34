//! The walker: a tree against the tables. It never stops at an error, so that one run names as many as possible.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Access, Key, Only, Section};
use crate::error::Problem;
use crate::nearest::nearest;
use crate::tree::{Data, Name, Node, Span, push_key, shorten};

/// What a reference names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Cluster,
    Listener,
}

/// A name that must be defined somewhere in the file.
pub(crate) struct Reference {
    pub(crate) target: Target,
    pub(crate) name: Arc<str>,
    pub(crate) span: Span,
    pub(crate) path: String,
}

/// The keys that a section had in the file.
pub(crate) struct Seen {
    /// Where the section begins.
    pub(crate) section: Span,
    keys: Vec<SeenKey>,
    /// What unknown keys were probably meant to be.
    meant: Vec<&'static str>,
}

struct SeenKey {
    name: &'static str,
    span: Span,
    failed: bool,
}

/// A step of the key path.
enum Step {
    Key(Arc<str>),
    Index(usize),
}

/// Collects what is wrong while a tree is read.
#[derive(Default)]
pub(crate) struct Reader {
    pub(crate) problems: Vec<Problem>,
    pub(crate) references: Vec<Reference>,
    path: Vec<Step>,
}

impl Seen {
    /// Where the key stands, if it does.
    pub(crate) fn span(&self, name: &str) -> Option<Span> {
        self.keys.iter().find(|key| key.name == name).map(|key| key.span)
    }

    /// Whether the key was there but wrong.
    pub(crate) fn failed(&self, name: &str) -> bool {
        self.keys.iter().any(|key| key.name == name && key.failed)
    }

    /// Whether an unknown key, reported already, was probably meant to be one of these.
    pub(crate) fn misspelled(&self, names: &[&str]) -> bool {
        self.meant.iter().any(|meant| names.contains(meant))
    }
}

impl Reader {
    /// Adds a problem at the current key path.
    pub(crate) fn problem(&mut self, span: Span, message: impl Into<String>, suggestion: Option<String>) {
        let path = self.path();
        self.problems.push(Problem { span, path, message: message.into(), suggestion });
    }

    /// Adds a problem of the key `name` of the current section.
    pub(crate) fn problem_at(&mut self, name: &str, span: Span, message: String, suggestion: Option<String>) {
        self.inside(Step::Key(name.into()), |reader| reader.problem(span, message, suggestion));
    }

    /// Acts one key further down.
    pub(crate) fn within_key<T>(&mut self, name: &Arc<str>, act: impl FnOnce(&mut Reader) -> T) -> T {
        self.inside(Step::Key(name.clone()), act)
    }

    /// Adds a reference at the current key path.
    pub(crate) fn reference(&mut self, target: Target, name: &Arc<str>, span: Span) {
        let path = self.path();
        self.references.push(Reference { target, name: name.clone(), span, path });
    }

    /// The current key path.
    pub(crate) fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Key(name) => push_key(&mut path, name),
                Step::Index(at) => path.push_str(&format!("[{at}]")),
            }
        }
        path
    }

    /// "expected ..., found ...".
    pub(crate) fn unexpected(&mut self, node: &Node, expected: &str, suggestion: Option<String>) {
        self.problem(node.span, format!("expected {expected}, found {}", node.describe()), suggestion);
    }

    /// Reads a mapping into `section`, which holds the defaults.
    pub(crate) fn section<S: Section>(&mut self, node: &Node, section: &mut S) {
        let Data::Map(entries) = &node.data else {
            return self.unexpected(node, &expected_mapping::<S>(), None);
        };
        let mut seen = Seen { section: node.span, keys: Vec::new(), meant: Vec::new() };
        for (name, child) in entries {
            match S::KEYS.iter().find(|key| key.name == &*name.text) {
                Some(key) => self.key(key, name, child, section, &mut seen),
                None => seen.meant.extend(self.unknown::<S>(name)),
            }
        }
        for key in S::KEYS.iter().filter(|key| key.required) {
            if seen.span(key.name).is_none() && !seen.misspelled(&[key.name]) {
                self.problem(node.span, format!("required key `{}` is missing", key.name), None);
            }
        }
        self.alternatives::<S>(&seen);
        for (only, name, span) in misplaced(section, &seen) {
            self.problem_at(name, span, format!("`{name}` {}", only.reason()), None);
        }
        section.finish(&seen, self);
    }

    fn alternatives<S: Section>(&mut self, seen: &Seen) {
        let names = S::ALTERNATIVES.names;
        let given = names.iter().filter_map(|name| seen.span(name).map(|span| (span, *name)));
        match given.clone().min() {
            Some((first_span, first)) => {
                for (span, name) in given.filter(|(span, _)| *span != first_span) {
                    self.problem_at(name, span, format!("`{name}` excludes `{first}`"), None);
                }
            }
            None if S::ALTERNATIVES.required && !seen.misspelled(names) => {
                self.problem(seen.section, format!("one of {} is required", either(names)), None);
            }
            None => {}
        }
    }

    fn key<S: Section>(&mut self, key: &Key<S>, name: &Name, child: &Node, section: &mut S, seen: &mut Seen) {
        if let Some(first) = seen.span(key.name) {
            let message = format!("duplicate key `{}`, first on line {}", key.name, first.line);
            return self.problem_at(key.name, name.span, message, None);
        }
        let before = self.problems.len();
        self.inside(Step::Key(name.text.clone()), |reader| match &key.access {
            Access::Leaf { kind, none, set, .. } => {
                if let Some(value) = reader.leaf(*kind, *none, child) {
                    set(section, value);
                }
            }
            Access::Nested { read, .. } => read(section, child, reader),
        });
        seen.keys.push(SeenKey { name: key.name, span: name.span, failed: self.problems.len() > before });
    }

    /// Reports an unknown key; gives the key that was meant.
    fn unknown<S: Section>(&mut self, name: &Name) -> Option<&'static str> {
        let near = nearest(&name.text, S::KEYS.iter().map(|key| key.name));
        let mut message = format!("unknown key `{}`", shorten(&name.text));
        if near.is_none() {
            let names: Vec<_> = S::KEYS.iter().map(|key| key.name).collect();
            message.push_str(&format!("; valid here: {}", names.join(", ")));
        }
        self.problem_at(&name.text, name.span, message, near.map(str::to_owned));
        near
    }

    /// Reads a list, each item with `read`.
    pub(crate) fn list<T>(&mut self, node: &Node, mut read: impl FnMut(&Node, &mut Reader) -> T) -> Vec<T> {
        let Data::List(items) = &node.data else {
            self.unexpected(node, "a list", None);
            return Vec::new();
        };
        let mut out = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            out.push(self.inside(Step::Index(at), |reader| read(item, reader)));
        }
        out
    }

    /// Reads a list of sections.
    pub(crate) fn sections<S: Section>(&mut self, node: &Node) -> Vec<S> {
        self.list(node, |item, reader| {
            let mut section = S::blank();
            reader.section(item, &mut section);
            section
        })
    }

    /// Reads a mapping from names to sections.
    pub(crate) fn named<S: Section>(&mut self, node: &Node, set_name: fn(&mut S, Arc<str>)) -> Vec<S> {
        let Data::Map(entries) = &node.data else {
            self.unexpected(node, "a mapping from names", None);
            return Vec::new();
        };
        let mut names: HashMap<&str, Span> = HashMap::new();
        let mut out = Vec::with_capacity(entries.len());
        for (name, child) in entries {
            self.inside(Step::Key(name.text.clone()), |reader| {
                if let Some(first) = names.get(&*name.text) {
                    let message =
                        format!("duplicate name `{}`, first on line {}", shorten(&name.text), first.line);
                    return reader.problem(name.span, message, None);
                }
                names.insert(&name.text, name.span);
                if let Err((message, suggestion)) = super::rules::name(&name.text) {
                    reader.problem(name.span, message, suggestion);
                }
                let mut section = S::blank();
                set_name(&mut section, name.text.clone());
                reader.section(child, &mut section);
                out.push(section);
            });
        }
        out
    }

    fn inside<T>(&mut self, step: Step, act: impl FnOnce(&mut Reader) -> T) -> T {
        self.path.push(step);
        let result = act(self);
        self.path.pop();
        result
    }
}

/// Keys that mean nothing in this section.
fn misplaced<S: Section>(section: &S, seen: &Seen) -> Vec<(Only, &'static str, Span)> {
    if S::undecided(seen) {
        return Vec::new();
    }
    let restricted = S::KEYS.iter().filter(|key| key.only != Only::Everywhere && !section.applies(key.only));
    restricted.filter_map(|key| seen.span(key.name).map(|span| (key.only, key.name, span))).collect()
}

/// What a section should have been: with its keys where they are few.
fn expected_mapping<S: Section>() -> String {
    const NAMES_MAX: usize = 5;
    let names: Vec<_> = S::KEYS.iter().map(|key| key.name).collect();
    if names.len() > NAMES_MAX { "a mapping".into() } else { format!("a mapping with {}", either(&names)) }
}

/// `` `a`, `b` or `c` ``.
pub(crate) fn either(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("`{one}`"),
        [rest @ .., last] => {
            let rest: Vec<_> = rest.iter().map(|name| format!("`{name}`")).collect();
            format!("{} or `{last}`", rest.join(", "))
        }
    }
}
