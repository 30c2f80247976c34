//! The schema as tables: one row a key, from which parsing, error texts, the reference, the JSON Schema and the dump are
//! made. A new key is one row; nothing else knows names, bounds or defaults.

mod cluster;
mod leaf;
mod listener;
mod process;
mod read;
mod root;
mod route;
mod rules;
mod value;

pub(crate) use leaf::VERSION;
pub(crate) use read::{Reader, Target};
pub(crate) use root::Root;
pub(crate) use value::{Choice, Value, index, names, pick};

use crate::json::Json;
use crate::tree::Node;
use crate::units::Place;

/// A mapping of the file: the keys it has and the value they make.
pub(crate) trait Section: Sized + 'static {
    /// Unique name, in the singular.
    const ID: &'static str;
    /// One or two sentences.
    const DOC: &'static str;
    /// The keys, in the order of the documentation.
    const KEYS: &'static [Key<Self>];
    /// Keys that exclude each other.
    const ALTERNATIVES: Alternatives = Alternatives { names: &[], required: false };
    /// Every key at its default.
    fn blank() -> Self;
    /// Whether keys restricted to `only` mean something here.
    fn applies(&self, _only: Only) -> bool {
        true
    }
    /// The key that [`Section::applies`] looks at is wrong, so nothing can be said.
    fn undecided(_seen: &read::Seen) -> bool {
        false
    }
    /// Checks that span several keys.
    fn finish(&mut self, _seen: &read::Seen, _reader: &mut Reader) {}
}

/// Keys of which at most one may be there; with `required`, exactly one.
#[derive(Clone, Copy)]
pub(crate) struct Alternatives {
    pub(crate) names: &'static [&'static str],
    pub(crate) required: bool,
}

/// One key.
pub(crate) struct Key<T: 'static> {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) required: bool,
    pub(crate) only: Only,
    pub(crate) access: Access<T>,
}

/// How a key is read into its section and shown again.
pub(crate) enum Access<T: 'static> {
    Leaf {
        kind: Kind,
        /// The word for "none".
        none: Option<&'static str>,
        set: fn(&mut T, Value),
        get: fn(&T) -> Value,
    },
    Nested {
        shape: Shape,
        read: fn(&mut T, &Node, &mut Reader),
        /// `None`: not there.
        show: fn(&T) -> Option<Json>,
    },
}

/// What kind of value a key takes.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// The version of the schema.
    Version,
    Bool,
    Int {
        min: u64,
        max: u64,
    },
    /// One of a few numbers.
    OneOf(&'static [u64]),
    /// Milliseconds.
    Duration {
        min: u64,
        max: u64,
    },
    /// Bytes.
    Size {
        min: u64,
        max: u64,
    },
    Choice(fn() -> Vec<&'static str>),
    Text(&'static rules::Rule),
    /// The name of something defined elsewhere in the file.
    Reference(Target),
    Address(Place),
    Cidr,
    /// No value twice.
    List(&'static Kind),
    /// Field names and values; with `many`, a value may be a list.
    Fields {
        many: bool,
    },
}

/// Where a key means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Only {
    Everywhere,
    Http,
    Tcp,
    /// Routes that forward.
    Forward,
}

/// How sections are arranged under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    One,
    List,
    /// A mapping from names.
    Named,
}

/// What stands under a key that is no leaf.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) form: Form,
    /// The short form of one section: a plain value of this kind.
    pub(crate) short: Option<Kind>,
    pub(crate) describe: fn() -> SectionInfo,
}

/// A section without its type: for documentation.
pub(crate) struct SectionInfo {
    pub(crate) id: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) keys: Vec<KeyInfo>,
    pub(crate) alternatives: Alternatives,
}

/// A key without the type of its section.
pub(crate) struct KeyInfo {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) required: bool,
    pub(crate) only: Only,
    pub(crate) kind: Option<(Kind, Option<&'static str>)>,
    pub(crate) shape: Option<Shape>,
    /// What holds when the key is absent.
    pub(crate) default: Option<Json>,
}

impl<T: 'static> Key<T> {
    /// A key with a plain value.
    pub(crate) const fn leaf(
        name: &'static str,
        kind: Kind,
        set: fn(&mut T, Value),
        get: fn(&T) -> Value,
        doc: &'static str,
    ) -> Self {
        Key {
            name,
            doc,
            required: false,
            only: Only::Everywhere,
            access: Access::Leaf { kind, none: None, set, get },
        }
    }

    /// A key with a plain value or the word `none` (which the default may be).
    pub(crate) const fn optional(
        name: &'static str,
        kind: Kind,
        none: &'static str,
        set: fn(&mut T, Value),
        get: fn(&T) -> Value,
        doc: &'static str,
    ) -> Self {
        Key {
            name,
            doc,
            required: false,
            only: Only::Everywhere,
            access: Access::Leaf { kind, none: Some(none), set, get },
        }
    }

    /// A key with sections under it.
    pub(crate) const fn nested(
        name: &'static str,
        shape: Shape,
        read: fn(&mut T, &Node, &mut Reader),
        show: fn(&T) -> Option<Json>,
        doc: &'static str,
    ) -> Self {
        Key {
            name,
            doc,
            required: false,
            only: Only::Everywhere,
            access: Access::Nested { shape, read, show },
        }
    }

    /// The key must be there.
    pub(crate) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The key means something only there.
    pub(crate) const fn only(mut self, only: Only) -> Self {
        self.only = only;
        self
    }

    /// The value of this key in `section`.
    fn show(&self, section: &T) -> Option<Json> {
        match &self.access {
            Access::Leaf { kind, none, get, .. } => kind.show(get(section), *none),
            Access::Nested { show, .. } => show(section),
        }
    }
}

impl Shape {
    pub(crate) const fn of<S: Section>(form: Form) -> Shape {
        Shape { form, short: None, describe: describe::<S> }
    }

    pub(crate) const fn or(mut self, short: Kind) -> Shape {
        self.short = Some(short);
        self
    }
}

impl Only {
    /// Why a key restricted to this is wrong elsewhere.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Only::Everywhere => "",
            Only::Http => "is for listeners with `protocol: http`; this one has `protocol: tcp`",
            Only::Tcp => "is for listeners with `protocol: tcp`; this one has `protocol: http`",
            Only::Forward => "is for routes with `cluster` or `split`",
        }
    }
}

/// Every key of `section` that means something there, with its effective value.
pub(crate) fn show<S: Section>(section: &S) -> Json {
    let keys = S::KEYS.iter().filter(|key| section.applies(key.only));
    Json::Map(keys.filter_map(|key| Some((key.name.to_owned(), key.show(section)?))).collect())
}

/// The keys of a section, for documentation.
pub(crate) fn describe<S: Section>() -> SectionInfo {
    let blank = S::blank();
    let keys = S::KEYS.iter().map(|key| {
        let (kind, shape) = match key.access {
            Access::Leaf { kind, none, .. } => (Some((kind, none)), None),
            Access::Nested { shape, .. } => (None, Some(shape)),
        };
        let default = if key.required || shape.is_some() { None } else { key.show(&blank) };
        KeyInfo { name: key.name, doc: key.doc, required: key.required, only: key.only, kind, shape, default }
    });
    SectionInfo { id: S::ID, doc: S::DOC, keys: keys.collect(), alternatives: S::ALTERNATIVES }
}
