//! Values between the tree and the specification, and the enums that have names in the file.

use std::sync::Arc;

use ringway_policy::spec::{Address, Cidr};

/// A checked value. Durations are milliseconds, sizes bytes, choices the index of their name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(u64),
    Text(Arc<str>),
    Address(Address),
    Cidr(Cidr),
    List(Vec<Value>),
    Fields(Vec<(Arc<str>, Arc<str>)>),
}

/// The accessors take the value that the row's kind makes; another one is a mistake in the table, which the test that
/// sets every key finds.
impl Value {
    pub(crate) fn bool(self) -> bool {
        self == Value::Bool(true)
    }

    pub(crate) fn int(self) -> u64 {
        self.opt_int().unwrap_or(0)
    }

    pub(crate) fn int32(self) -> u32 {
        u32::try_from(self.int()).unwrap_or(u32::MAX)
    }

    pub(crate) fn opt_int(self) -> Option<u64> {
        match self {
            Value::Int(value) => Some(value),
            other => {
                debug_assert_eq!(other, Value::None);
                None
            }
        }
    }

    pub(crate) fn text(self) -> Arc<str> {
        self.opt_text().unwrap_or_else(|| "".into())
    }

    pub(crate) fn opt_text(self) -> Option<Arc<str>> {
        match self {
            Value::Text(value) => Some(value),
            other => {
                debug_assert_eq!(other, Value::None);
                None
            }
        }
    }

    pub(crate) fn opt_address(self) -> Option<Address> {
        match self {
            Value::Address(value) => Some(value),
            other => {
                debug_assert_eq!(other, Value::None);
                None
            }
        }
    }

    pub(crate) fn texts(self) -> Vec<Arc<str>> {
        self.list().into_iter().map(Value::text).collect()
    }

    pub(crate) fn cidrs(self) -> Vec<Cidr> {
        let cidr = |value| if let Value::Cidr(cidr) = value { Some(cidr) } else { None };
        self.list().into_iter().filter_map(cidr).collect()
    }

    pub(crate) fn fields(self) -> Vec<(Arc<str>, Arc<str>)> {
        match self {
            Value::Fields(fields) => fields,
            other => {
                debug_assert_eq!(other, Value::None);
                Vec::new()
            }
        }
    }

    fn list(self) -> Vec<Value> {
        match self {
            Value::List(items) => items,
            other => {
                debug_assert_eq!(other, Value::None);
                Vec::new()
            }
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Value::Int(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Value::Int(value.into())
    }
}

impl From<u16> for Value {
    fn from(value: u16) -> Self {
        Value::Int(value.into())
    }
}

impl From<&Arc<str>> for Value {
    fn from(value: &Arc<str>) -> Self {
        Value::Text(value.clone())
    }
}

impl From<&Address> for Value {
    fn from(value: &Address) -> Self {
        Value::Address(value.clone())
    }
}

impl From<&[(Arc<str>, Arc<str>)]> for Value {
    fn from(value: &[(Arc<str>, Arc<str>)]) -> Self {
        Value::Fields(value.to_vec())
    }
}

impl From<&Vec<Arc<str>>> for Value {
    fn from(value: &Vec<Arc<str>>) -> Self {
        Value::List(value.iter().map(Value::from).collect())
    }
}

impl From<&Vec<Cidr>> for Value {
    fn from(value: &Vec<Cidr>) -> Self {
        Value::List(value.iter().map(|cidr| Value::Cidr(*cidr)).collect())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::None, T::into)
    }
}

/// An enum whose variants have names in the file.
pub(crate) trait Choice: Copy + PartialEq + 'static {
    /// Names and variants, the default first.
    const TABLE: &'static [(&'static str, Self)];
}

/// The names of a choice.
pub(crate) fn names<C: Choice>() -> Vec<&'static str> {
    C::TABLE.iter().map(|(name, _)| *name).collect()
}

/// The variant a value stands for.
pub(crate) fn pick<C: Choice>(value: Value) -> C {
    let at = usize::try_from(value.int()).unwrap_or(usize::MAX);
    C::TABLE.get(at).unwrap_or(&C::TABLE[0]).1
}

/// The value that stands for a variant.
pub(crate) fn index<C: Choice>(variant: C) -> Value {
    Value::Int(C::TABLE.iter().position(|(_, other)| *other == variant).unwrap_or(0) as u64)
}
