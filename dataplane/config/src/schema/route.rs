//! Routes: what they match and what happens.

use std::sync::Arc;

use ringway_policy::spec::{
    Action, FieldEdits, Match, Path, Redirect, Respond, Retry, Route, ValueIs, ValueMatch,
};

use super::cluster::WEIGHT_MAX;
use super::read::Seen;
use super::{Alternatives, Form, Key, Kind, Only, Reader, Section, Shape, Target, rules, show};
use crate::json::Json;

const DAY_MS: u64 = 86_400_000;

/// A route as the file has it: the parts of the four possible actions side by side.
pub(super) struct Draft {
    route: Route,
    cluster: Option<Arc<str>>,
    split: Option<Vec<Share>>,
    redirect: Option<Redirect>,
    respond: Option<Respond>,
}

impl Draft {
    /// The route; [`Section::finish`] has seen to it that there is one action.
    pub(super) fn into_spec(self) -> Route {
        let mut route = self.route;
        if let Some(cluster) = self.cluster {
            route.action = Action::Cluster(cluster);
        } else if let Some(split) = self.split {
            route.action =
                Action::Split(split.into_iter().map(|share| (share.cluster, share.weight)).collect());
        } else if let Some(redirect) = self.redirect {
            route.action = Action::Redirect(redirect);
        } else if let Some(respond) = self.respond {
            route.action = Action::Respond(respond);
        }
        route
    }

    pub(super) fn of(route: &Route) -> Draft {
        let mut draft = Draft { route: route.clone(), ..Draft::blank() };
        match &route.action {
            Action::Cluster(cluster) => draft.cluster = Some(cluster.clone()),
            Action::Split(shares) => {
                let share =
                    |(cluster, weight): &(Arc<str>, u32)| Share { cluster: cluster.clone(), weight: *weight };
                draft.split = Some(shares.iter().map(share).collect());
            }
            Action::Redirect(redirect) => draft.redirect = Some(redirect.clone()),
            Action::Respond(respond) => draft.respond = Some(respond.clone()),
        }
        draft
    }
}

/// `GET,POST example.com/api/*`: a name for a route that has none.
pub(super) fn describe(matches: &Match) -> String {
    let mut name = matches.methods.join(",");
    if !name.is_empty() {
        name.push(' ');
    }
    name.push_str(matches.host.as_deref().unwrap_or("*"));
    match &matches.path {
        Path::Exact(path) => name.push_str(path),
        Path::Prefix(path) => name.push_str(&format!("{}/*", path.trim_end_matches('/'))),
        Path::Regex(regex) => name.push_str(&format!(" ~{regex}")),
    }
    for condition in &matches.headers {
        name.push_str(&format!(" {}", condition.name));
    }
    for condition in &matches.query {
        name.push_str(&format!(" ?{}", condition.name));
    }
    const BYTES_MAX: usize = 200;
    let end = (0..=name.len().min(BYTES_MAX)).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    name[..end].replace(char::is_control, " ")
}

impl Section for Draft {
    const ID: &'static str = "route";
    const DOC: &'static str = "What it matches (all parts must) and what happens: exactly one of `cluster`, `split`, \
        `redirect` and `respond`. The most specific route wins whatever the order of the file.";
    const KEYS: &'static [Key<Self>] = &[
        Key::<Self>::leaf(
            "name",
            Kind::Text(&rules::NAME),
            |draft, value| draft.route.name = value.text(),
            |draft| Some(&draft.route.name).filter(|name| !name.is_empty()).into(),
            "For logs and `ringway explain`; unique. Absent: made from what the route matches.",
        ),
        Key::<Self>::leaf(
            "listeners",
            Kind::List(&Kind::Reference(Target::Listener)),
            |draft, value| draft.route.listeners = value.texts(),
            |draft| (&draft.route.listeners).into(),
            "The listeners it applies to; empty: all with `protocol: http`.",
        ),
        Key::<Self>::optional(
            "host",
            Kind::Text(&rules::HOST_PATTERN),
            "*",
            |draft, value| draft.route.matches.host = value.opt_text(),
            |draft| draft.route.matches.host.as_ref().into(),
            "Host of the request, without port: `example.com`, `*.example.com` (one or more labels) or `*`.",
        ),
        Key::<Self>::nested(
            "path",
            Shape::of::<PathDraft>(Form::One),
            |draft, node, reader| {
                let mut path = PathDraft::blank();
                reader.section(node, &mut path);
                draft.route.matches.path = path.into_spec();
            },
            |draft| Some(show(&PathDraft::of(&draft.route.matches.path))),
            "Path of the request. Absent: any.",
        ),
        Key::<Self>::leaf(
            "methods",
            Kind::List(&Kind::Text(&rules::METHOD)),
            |draft, value| draft.route.matches.methods = value.texts(),
            |draft| (&draft.route.matches.methods).into(),
            "Methods; empty: any.",
        ),
        Key::<Self>::nested(
            "headers",
            Shape::of::<HeaderMatch>(Form::List),
            |draft, node, reader| {
                let conditions: Vec<HeaderMatch> = reader.sections(node);
                draft.route.matches.headers = conditions.into_iter().map(|c| c.0.into_spec()).collect();
            },
            |draft| Some(show_matches(&draft.route.matches.headers, HeaderMatch)),
            "Conditions on fields; all must hold.",
        ),
        Key::<Self>::nested(
            "query",
            Shape::of::<QueryMatch>(Form::List),
            |draft, node, reader| {
                let conditions: Vec<QueryMatch> = reader.sections(node);
                draft.route.matches.query = conditions.into_iter().map(|c| c.0.into_spec()).collect();
            },
            |draft| Some(show_matches(&draft.route.matches.query, QueryMatch)),
            "Conditions on query parameters; all must hold.",
        ),
        Key::<Self>::leaf(
            "cluster",
            Kind::Reference(Target::Cluster),
            |draft, value| draft.cluster = value.opt_text(),
            |draft| draft.cluster.as_ref().into(),
            "Forward to this cluster.",
        ),
        Key::<Self>::nested(
            "split",
            Shape::of::<Share>(Form::List),
            |draft, node, reader| draft.split = Some(reader.sections(node)),
            |draft| draft.split.as_ref().map(|shares| Json::List(shares.iter().map(show).collect())),
            "Forward to one of several clusters, by weight.",
        ),
        Key::<Self>::nested(
            "redirect",
            Shape::of::<Redirect>(Form::One),
            |draft, node, reader| reader.section(node, draft.redirect.get_or_insert_default()),
            |draft| draft.redirect.as_ref().map(show),
            "Answer with a redirect.",
        ),
        Key::<Self>::nested(
            "respond",
            Shape::of::<Respond>(Form::One),
            |draft, node, reader| reader.section(node, draft.respond.get_or_insert_default()),
            |draft| draft.respond.as_ref().map(show),
            "Answer directly.",
        ),
        Key::<Self>::nested(
            "rewrite",
            Shape::of::<Rewrite>(Form::One),
            |draft, node, reader| {
                let mut rewrite = Rewrite::of(&draft.route);
                reader.section(node, &mut rewrite);
                (draft.route.rewrite_path, draft.route.rewrite_host) = (rewrite.path, rewrite.host);
            },
            |draft| Some(show(&Rewrite::of(&draft.route))),
            "Changes to path and host before forwarding.",
        )
        .only(Only::Forward),
        Key::<Self>::nested(
            "request_headers",
            Shape::of::<FieldEdits>(Form::One),
            |draft, node, reader| reader.section(node, &mut draft.route.request_fields),
            |draft| Some(show(&draft.route.request_fields)),
            "Edits of the fields of the forwarded request.",
        )
        .only(Only::Forward),
        Key::<Self>::nested(
            "response_headers",
            Shape::of::<FieldEdits>(Form::One),
            |draft, node, reader| reader.section(node, &mut draft.route.response_fields),
            |draft| Some(show(&draft.route.response_fields)),
            "Edits of the fields of the answer.",
        ),
        Key::<Self>::optional(
            "timeout",
            Kind::Duration { min: 1, max: 30 * DAY_MS },
            "off",
            |draft, value| draft.route.timeout_ms = value.opt_int().unwrap_or(0),
            |draft| Some(draft.route.timeout_ms).filter(|ms| *ms > 0).into(),
            "From the end of the request to the end of the answer's head, all attempts together. Then: 504.",
        )
        .only(Only::Forward),
        Key::<Self>::optional(
            "try_timeout",
            Kind::Duration { min: 1, max: 30 * DAY_MS },
            "off",
            |draft, value| draft.route.try_timeout_ms = value.opt_int(),
            |draft| draft.route.try_timeout_ms.into(),
            "One attempt, likewise.",
        )
        .only(Only::Forward),
        Key::<Self>::optional(
            "try_idle_timeout",
            Kind::Duration { min: 1, max: 30 * DAY_MS },
            "off",
            |draft, value| draft.route.try_idle_ms = value.opt_int(),
            |draft| draft.route.try_idle_ms.into(),
            "How long the upstream may be silent while an attempt's answer is awaited or arrives. Then: 504, or the answer is cut off.",
        )
        .only(Only::Forward),
        Key::<Self>::optional(
            "idle_timeout",
            Kind::Duration { min: 1, max: 30 * DAY_MS },
            "inherit",
            |draft, value| draft.route.idle_ms = value.opt_int(),
            |draft| draft.route.idle_ms.into(),
            "In place of the listener's `timeouts: {stream_idle: ...}`; tunnels included.",
        )
        .only(Only::Forward),
        Key::<Self>::optional(
            "duration_max",
            Kind::Duration { min: 1, max: 365 * DAY_MS },
            "off",
            |draft, value| draft.route.duration_max_ms = value.opt_int(),
            |draft| draft.route.duration_max_ms.into(),
            "Longest life of an exchange, bodies and tunnels included.",
        )
        .only(Only::Forward),
        Key::<Self>::nested(
            "retry",
            Shape::of::<Retry>(Form::One),
            |draft, node, reader| reader.section(node, &mut draft.route.retry),
            |draft| Some(show(&draft.route.retry)),
            "Attempts beyond the first.",
        )
        .only(Only::Forward),
        Key::<Self>::leaf(
            "upgrade",
            Kind::List(&Kind::Text(&rules::UPGRADE)),
            |draft, value| draft.route.upgrade = value.texts(),
            |draft| (&draft.route.upgrade).into(),
            "Protocols that an Upgrade may switch to; empty: none.",
        )
        .only(Only::Forward),
    ];

    const ALTERNATIVES: Alternatives =
        Alternatives { names: &["cluster", "split", "redirect", "respond"], required: true };

    fn blank() -> Self {
        let unmatched = Action::Respond(Respond { status: 404, ..Respond::default() });
        Draft { route: Route::to(unmatched), cluster: None, split: None, redirect: None, respond: None }
    }

    fn applies(&self, only: Only) -> bool {
        only != Only::Forward || self.redirect.is_none() && self.respond.is_none()
    }

    fn finish(&mut self, seen: &Seen, reader: &mut Reader) {
        if let (Some(shares), Some(span), false) = (&self.split, seen.span("split"), seen.failed("split"))
            && shares.iter().all(|share| share.weight == 0)
        {
            reader.problem_at("split", span, "no cluster has a weight above 0".into(), None);
        }
        if let (Path::Regex(_), Some(_), Some(span)) =
            (&self.route.matches.path, &self.route.rewrite_path, seen.span("rewrite"))
        {
            let message = "`path` can be rewritten only for a match by `prefix` or `exact`".into();
            reader.problem_at("rewrite", span, message, None);
        }
    }
}

/// The `path` of a route.
struct PathDraft {
    exact: Option<Arc<str>>,
    prefix: Option<Arc<str>>,
    regex: Option<Arc<str>>,
}

impl PathDraft {
    fn into_spec(self) -> Path {
        let regex = || self.regex.map(Path::Regex);
        self.exact
            .map(Path::Exact)
            .or_else(|| self.prefix.map(Path::Prefix))
            .or_else(regex)
            .unwrap_or_default()
    }

    fn of(path: &Path) -> PathDraft {
        let mut draft = PathDraft::blank();
        match path.clone() {
            Path::Exact(path) => draft.exact = Some(path),
            Path::Prefix(path) => draft.prefix = Some(path),
            Path::Regex(regex) => draft.regex = Some(regex),
        }
        draft
    }
}

impl Section for PathDraft {
    const ID: &'static str = "path";
    const DOC: &'static str = "Exactly one condition on the path.";
    const KEYS: &'static [Key<Self>] = &[
        Key::<Self>::leaf(
            "exact",
            Kind::Text(&rules::PATH),
            |path, value| path.exact = value.opt_text(),
            |path| path.exact.as_ref().into(),
            "The path is exactly this.",
        ),
        Key::<Self>::leaf(
            "prefix",
            Kind::Text(&rules::PATH),
            |path, value| path.prefix = value.opt_text(),
            |path| path.prefix.as_ref().into(),
            "The path is this, or continues behind a `/`.",
        ),
        Key::<Self>::leaf(
            "regex",
            Kind::Text(&rules::NOT_EMPTY),
            |path, value| path.regex = value.opt_text(),
            |path| path.regex.as_ref().into(),
            "The whole path matches this regular expression (linear time, no back-references).",
        ),
    ];

    const ALTERNATIVES: Alternatives = Alternatives { names: &["exact", "prefix", "regex"], required: true };

    fn blank() -> Self {
        PathDraft { exact: None, prefix: None, regex: None }
    }
}

/// A condition on a field or a query parameter.
#[derive(Default)]
struct ValueDraft {
    name: Arc<str>,
    absent: bool,
    exact: Option<Arc<str>>,
    prefix: Option<Arc<str>>,
    suffix: Option<Arc<str>>,
    regex: Option<Arc<str>>,
    invert: bool,
}

impl ValueDraft {
    fn into_spec(self) -> ValueMatch {
        let value = [
            self.exact.map(ValueIs::Exact),
            self.prefix.map(ValueIs::Prefix),
            self.suffix.map(ValueIs::Suffix),
            self.regex.map(ValueIs::Regex),
        ];
        let value = value.into_iter().flatten().next().unwrap_or(ValueIs::Present);
        // `present: false` is the condition turned round.
        ValueMatch { name: self.name, value, invert: self.invert != self.absent }
    }

    fn of(condition: &ValueMatch) -> ValueDraft {
        let mut draft =
            ValueDraft { name: condition.name.clone(), invert: condition.invert, ..ValueDraft::default() };
        match condition.value.clone() {
            ValueIs::Present => {}
            ValueIs::Exact(text) => draft.exact = Some(text),
            ValueIs::Prefix(text) => draft.prefix = Some(text),
            ValueIs::Suffix(text) => draft.suffix = Some(text),
            ValueIs::Regex(text) => draft.regex = Some(text),
        }
        draft
    }
}

fn show_matches<S: Section>(conditions: &[ValueMatch], wrap: fn(ValueDraft) -> S) -> Json {
    Json::List(conditions.iter().map(|condition| show(&wrap(ValueDraft::of(condition)))).collect())
}

/// The two kinds of condition have the same keys; only the rule for the name differs.
macro_rules! value_match {
    ($section:ident, $id:literal, $doc:literal, $rule:path, $name_doc:literal) => {
        struct $section(ValueDraft);

        impl Section for $section {
            const ID: &'static str = $id;
            const DOC: &'static str = $doc;
            const KEYS: &'static [Key<Self>] = &[
                Key::<Self>::leaf(
                    "name",
                    Kind::Text(&$rule),
                    |condition, value| condition.0.name = value.text(),
                    |condition| (&condition.0.name).into(),
                    $name_doc,
                )
                .required(),
                Key::<Self>::leaf(
                    "present",
                    Kind::Bool,
                    |condition, value| condition.0.absent = !value.bool(),
                    |condition| condition.0.shows_presence().into(),
                    "It is there (or, with `false`, is not), whatever its value. What holds when no other condition \
                     is given.",
                ),
                Key::<Self>::leaf(
                    "exact",
                    Kind::Text(&rules::ANY),
                    |condition, value| condition.0.exact = value.opt_text(),
                    |condition| condition.0.exact.as_ref().into(),
                    "Its value is this.",
                ),
                Key::<Self>::leaf(
                    "prefix",
                    Kind::Text(&rules::NOT_EMPTY),
                    |condition, value| condition.0.prefix = value.opt_text(),
                    |condition| condition.0.prefix.as_ref().into(),
                    "Its value begins with this.",
                ),
                Key::<Self>::leaf(
                    "suffix",
                    Kind::Text(&rules::NOT_EMPTY),
                    |condition, value| condition.0.suffix = value.opt_text(),
                    |condition| condition.0.suffix.as_ref().into(),
                    "Its value ends with this.",
                ),
                Key::<Self>::leaf(
                    "regex",
                    Kind::Text(&rules::NOT_EMPTY),
                    |condition, value| condition.0.regex = value.opt_text(),
                    |condition| condition.0.regex.as_ref().into(),
                    "Its whole value matches this regular expression (linear time).",
                ),
                Key::<Self>::leaf(
                    "invert",
                    Kind::Bool,
                    |condition, value| condition.0.invert = value.bool(),
                    |condition| condition.0.invert.into(),
                    "Matches when the condition does not hold.",
                ),
            ];

            const ALTERNATIVES: Alternatives =
                Alternatives { names: &["present", "exact", "prefix", "suffix", "regex"], required: false };

            fn blank() -> Self {
                $section(ValueDraft::default())
            }
        }
    };
}

value_match!(
    HeaderMatch,
    "header_match",
    "A condition on a field: at most one of `present`, `exact`, `prefix`, `suffix` and `regex`.",
    rules::FIELD_NAME,
    "Field name, in any case."
);
value_match!(
    QueryMatch,
    "query_match",
    "A condition on a query parameter: at most one of `present`, `exact`, `prefix`, `suffix` and `regex`.",
    rules::NOT_EMPTY,
    "Parameter name."
);

impl ValueDraft {
    /// `present` is written where nothing else says what the condition is.
    fn shows_presence(&self) -> Option<bool> {
        let other = [&self.exact, &self.prefix, &self.suffix, &self.regex];
        other.iter().all(|condition| condition.is_none()).then_some(!self.absent)
    }
}

/// One part of a split.
struct Share {
    cluster: Arc<str>,
    weight: u32,
}

impl Section for Share {
    const ID: &'static str = "share";
    const DOC: &'static str = "One cluster of a split and its share of the requests.";
    const KEYS: &'static [Key<Self>] = &[
        Key::<Self>::leaf(
            "cluster",
            Kind::Reference(Target::Cluster),
            |share, value| share.cluster = value.text(),
            |share| (&share.cluster).into(),
            "Where it goes.",
        )
        .required(),
        Key::<Self>::leaf(
            "weight",
            Kind::Int { min: 0, max: WEIGHT_MAX },
            |share, value| share.weight = value.int32(),
            |share| share.weight.into(),
            "Relative to its siblings; 0 gets nothing.",
        )
        .required(),
    ];

    fn blank() -> Self {
        Share { cluster: "".into(), weight: 0 }
    }
}

impl Section for Redirect {
    const ID: &'static str = "redirect";
    const DOC: &'static str = "Sends the client elsewhere. What is not given stays as it was requested.";
    const KEYS: &'static [Key<Self>] = &[
        Key::<Self>::leaf(
            "status",
            Kind::OneOf(&[301, 302, 303, 307, 308]),
            |redirect, value| redirect.status = u16::try_from(value.int()).unwrap_or(302),
            |redirect| redirect.status.into(),
            "Status; 301 and 308 are permanent, 307 and 308 keep the method.",
        ),
        Key::<Self>::leaf(
            "scheme",
            Kind::Text(&rules::SCHEME),
            |redirect, value| redirect.scheme = value.opt_text(),
            |redirect| redirect.scheme.as_ref().into(),
            "Replaces the scheme.",
        ),
        Key::<Self>::leaf(
            "host",
            Kind::Text(&rules::AUTHORITY),
            |redirect, value| redirect.host = value.opt_text(),
            |redirect| redirect.host.as_ref().into(),
            "Replaces the host.",
        ),
        Key::<Self>::leaf(
            "port",
            Kind::Int { min: 1, max: 65_535 },
            |redirect, value| redirect.port = value.opt_int().and_then(|port| u16::try_from(port).ok()),
            |redirect| redirect.port.into(),
            "Replaces the port; absent, it stays unless the scheme changes.",
        ),
        Key::<Self>::leaf(
            "path",
            Kind::Text(&rules::PATH),
            |redirect, value| redirect.path = value.opt_text(),
            |redirect| redirect.path.as_ref().into(),
            "Replaces the matched prefix, or the whole path for another match.",
        ),
        Key::<Self>::leaf(
            "strip_query",
            Kind::Bool,
            |redirect, value| redirect.strip_query = value.bool(),
            |redirect| redirect.strip_query.into(),
            "Drops the query.",
        ),
    ];

    fn blank() -> Self {
        Redirect::default()
    }
}

impl Section for Respond {
    const ID: &'static str = "respond";
    const DOC: &'static str = "An answer of the proxy's own.";
    const KEYS: &'static [Key<Self>] = &[
        Key::<Self>::leaf(
            "status",
            Kind::Int { min: 200, max: 599 },
            |respond, value| respond.status = u16::try_from(value.int()).unwrap_or(200),
            |respond| respond.status.into(),
            "Status.",
        ),
        Key::<Self>::leaf(
            "body",
            Kind::Text(&rules::ANY),
            |respond, value| respond.body = value.text(),
            |respond| (&respond.body).into(),
            "Body.",
        ),
        Key::<Self>::leaf(
            "content_type",
            Kind::Text(&rules::FIELD_VALUE),
            |respond, value| respond.content_type = value.opt_text(),
            |respond| respond.content_type.as_ref().into(),
            "`Content-Type`; absent: `text/plain; charset=utf-8`.",
        ),
    ];

    fn blank() -> Self {
        Respond::default()
    }

    fn finish(&mut self, seen: &Seen, reader: &mut Reader) {
        // RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5.
        if let (204 | 205 | 304, Some(span), false) = (self.status, seen.span("body"), self.body.is_empty()) {
            reader.problem_at(
                "body",
                span,
                format!("an answer with status {} has no body", self.status),
                None,
            );
        }
    }
}

/// The `rewrite` of a route.
struct Rewrite {
    path: Option<Arc<str>>,
    host: Option<Arc<str>>,
}

impl Rewrite {
    fn of(route: &Route) -> Rewrite {
        Rewrite { path: route.rewrite_path.clone(), host: route.rewrite_host.clone() }
    }
}

impl Section for Rewrite {
    const ID: &'static str = "rewrite";
    const DOC: &'static str = "What the upstream sees in place of what the client asked for.";
    const KEYS: &'static [Key<Self>] = &[
        Key::<Self>::leaf(
            "path",
            Kind::Text(&rules::PATH),
            |rewrite, value| rewrite.path = value.opt_text(),
            |rewrite| rewrite.path.as_ref().into(),
            "Replaces the matched prefix, or the whole path for an exact match.",
        ),
        Key::<Self>::leaf(
            "host",
            Kind::Text(&rules::AUTHORITY),
            |rewrite, value| rewrite.host = value.opt_text(),
            |rewrite| rewrite.host.as_ref().into(),
            "Replaces `Host`.",
        ),
    ];

    fn blank() -> Self {
        Rewrite { path: None, host: None }
    }
}

impl Section for FieldEdits {
    const ID: &'static str = "field_edits";
    const DOC: &'static str = "Edits of the fields of a message: first `remove`, then `set`, then `add`. Fields that \
        frame the message or belong to the connection, and `Host`, cannot be named.";
    const KEYS: &'static [Key<Self>] = &[
        Key::<Self>::leaf(
            "set",
            Kind::Fields { many: false },
            |edits, value| edits.set = value.fields(),
            |edits| edits.set.as_slice().into(),
            "Replaces all lines of that name by one.",
        ),
        Key::<Self>::leaf(
            "add",
            Kind::Fields { many: true },
            |edits, value| edits.add = value.fields(),
            |edits| edits.add.as_slice().into(),
            "One more line; for a list, one for each value.",
        ),
        Key::<Self>::leaf(
            "remove",
            Kind::List(&Kind::Text(&rules::EDITED_FIELD)),
            |edits, value| edits.remove = value.texts(),
            |edits| (&edits.remove).into(),
            "Drops all lines of that name.",
        ),
    ];

    fn blank() -> Self {
        FieldEdits::default()
    }
}

impl Section for Retry {
    const ID: &'static str = "retry";
    const DOC: &'static str = "Attempts beyond the first, after a failed connect, a refusal, or a reset before any byte \
        of the answer on a reused connection; only for idempotent requests or ones of which nothing was sent.";
    const KEYS: &'static [Key<Self>] = &[Key::<Self>::leaf(
        "max",
        Kind::Int { min: 0, max: 10 },
        |retry, value| retry.max = value.int32(),
        |retry| retry.max.into(),
        "How many; 0 = none.",
    )];

    fn blank() -> Self {
        Retry::default()
    }
}
