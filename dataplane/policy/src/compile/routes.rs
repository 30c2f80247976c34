//! Routes: conditions, actions, rewrites, edits; and the tables made of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Errors, Names, duplicates};
use crate::condition::{HeaderCondition, Methods, QueryCondition};
use crate::fields::{self, Edits};
use crate::host::HostPattern;
use crate::nearest::nearest;
use crate::path;
use crate::pattern;
use crate::respond::{Respond, may_have_body};
use crate::rewrite::{PathRewrite, Redirect};
use crate::route::{Conditions, PathCondition, RouteTable};
use crate::snapshot::{Action, ClusterId, Listener, Route, Snapshot};
use crate::spec::{self, Protocol, Spec, ValueIs, ValueMatch};
use crate::split::Split;
use crate::weights::{WEIGHT_SUM_MAX, WeightsError};

/// An action with its references resolved: with the specification all that a compiled route depends on.
#[derive(Debug, PartialEq)]
pub(super) enum CheckedAction {
    Cluster(ClusterId),
    Split(Split),
    /// Answered here; depends on nothing but the specification.
    Local,
}

/// Checks all routes. The actions are in file order, `None` for those with an error.
pub(super) fn check(names: &Names<'_>, errors: &mut Errors) -> Vec<Option<CheckedAction>> {
    let spec = names.spec;
    for (place, _) in duplicates(&spec.routes, |route| Some(route.name.clone())) {
        let name = &spec.routes[place].name;
        errors.add(format!("routes[{place}].name"), format!("there are two routes `{name}`"));
    }
    unreachable_routes(spec, errors);
    let mut checked = Vec::with_capacity(spec.routes.len());
    for (place, route) in spec.routes.iter().enumerate() {
        let at = format!("routes[{place}]");
        check_listeners(names, route, &at, errors);
        check_match(&route.matches, &at, errors);
        check_rewrite(route, &at, errors);
        check_edits(&route.request_fields, &format!("{at}.request_headers"), errors);
        check_edits(&route.response_fields, &format!("{at}.response_headers"), errors);
        checked.push(check_action(names, route, &at, errors));
    }
    checked
}

/// A route is never used if an earlier one asks for exactly the same on all its listeners.
fn unreachable_routes(spec: &Spec, errors: &mut Errors) {
    let mut seen: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, route) in spec.routes.iter().enumerate() {
        let earlier = seen.entry(format!("{:?}", canonical(&route.matches))).or_default();
        let shadows = |first: &usize| {
            let first = &spec.routes[*first].listeners;
            first.is_empty()
                || (!route.listeners.is_empty() && route.listeners.iter().all(|name| first.contains(name)))
        };
        if let Some(first) = earlier.iter().copied().find(shadows) {
            let name = &spec.routes[first].name;
            let message =
                format!("asks for exactly what routes[{first}] (`{name}`) asks for: it is never used");
            errors.add(format!("routes[{place}]"), message);
        }
        earlier.push(place);
    }
}

/// The same for all spellings of one set of conditions.
fn canonical(matches: &spec::Match) -> spec::Match {
    let by_name = |one: &ValueMatch, other: &ValueMatch| {
        (&one.name, format!("{one:?}")).cmp(&(&other.name, format!("{other:?}")))
    };
    let mut matches = matches.clone();
    matches.host = matches.host.filter(|host| &**host != "*").map(|host| host.to_ascii_lowercase().into());
    if let spec::Path::Prefix(prefix) = &mut matches.path
        && prefix.len() > 1
        && let Some(trimmed) = prefix.strip_suffix('/')
    {
        *prefix = trimmed.into();
    }
    matches.methods.sort();
    matches.headers.sort_by(by_name);
    matches.query.sort_by(by_name);
    matches
}

fn check_listeners(names: &Names<'_>, route: &spec::Route, at: &str, errors: &mut Errors) {
    for (place, name) in route.listeners.iter().enumerate() {
        let path = format!("{at}.listeners[{place}]");
        match names.listener(name).map(|listener| &listener.protocol) {
            Some(Protocol::Http(_)) => {}
            Some(Protocol::Tcp(_)) => {
                errors.add(path, format!("listener `{name}` speaks opaque TCP: it has no routes"));
            }
            None => {
                let http = names.spec.listeners.iter().filter(|l| matches!(l.protocol, Protocol::Http(_)));
                let near = nearest(name, http.map(|listener| &*listener.name));
                errors.suggest(path, format!("there is no listener `{name}`"), near);
            }
        }
    }
}

fn check_match(matches: &spec::Match, at: &str, errors: &mut Errors) {
    if let Some(host) = &matches.host
        && let Err(why) = HostPattern::parse(host)
    {
        errors.add(format!("{at}.host"), format!("`{host}` {why}"));
    }
    match &matches.path {
        spec::Path::Exact(text) => check_path(text, &format!("{at}.path.exact"), errors),
        spec::Path::Prefix(text) => check_path(text, &format!("{at}.path.prefix"), errors),
        spec::Path::Regex(text) => {
            if let Err(why) = pattern::check(text) {
                errors.add(format!("{at}.path.regex"), format!("`{text}`: {why}"));
            }
        }
    }
    for (place, method) in matches.methods.iter().enumerate() {
        let path = format!("{at}.methods[{place}]");
        if !fields::is_token(method.as_bytes()) {
            errors.add(path, format!("`{method}` is not a method"));
        } else if ["get", "head", "post", "put", "delete", "connect", "options", "trace", "patch"]
            .contains(&&**method)
        {
            let upper = method.to_ascii_uppercase();
            errors.suggest(path, format!("`{method}`: methods are case-sensitive"), Some(upper));
        }
    }
    for (place, condition) in matches.headers.iter().enumerate() {
        let path = format!("{at}.headers[{place}]");
        if !fields::is_token(condition.name.as_bytes()) {
            errors.add(format!("{path}.name"), format!("`{}` is not a field name", condition.name));
        }
        check_value(&condition.value, &path, errors);
    }
    for (place, condition) in matches.query.iter().enumerate() {
        check_value(&condition.value, &format!("{at}.query[{place}]"), errors);
    }
}

fn check_value(value: &ValueIs, at: &str, errors: &mut Errors) {
    if let ValueIs::Regex(text) = value
        && let Err(why) = pattern::check(text)
    {
        errors.add(format!("{at}.regex"), format!("`{text}`: {why}"));
    }
}

fn check_path(text: &str, at: &str, errors: &mut Errors) {
    if let Err(why) = path::from_config(text) {
        errors.add(at, format!("`{text}` {why}"));
    }
}

fn check_rewrite(route: &spec::Route, at: &str, errors: &mut Errors) {
    if let Some(path) = &route.rewrite_path {
        check_path(path, &format!("{at}.rewrite.path"), errors);
        if matches!(route.matches.path, spec::Path::Regex(_)) {
            errors.add(format!("{at}.rewrite.path"), "needs a match by `prefix` or `exact`");
        }
    }
    if let Some(host) = &route.rewrite_host
        && !ringway_wire::h1::is_valid_authority(host.as_bytes())
    {
        errors.add(format!("{at}.rewrite.host"), format!("`{host}` is not a host"));
    }
}

fn check_edits(edits: &spec::FieldEdits, at: &str, errors: &mut Errors) {
    let removed =
        edits.remove.iter().enumerate().map(|(place, name)| (format!("remove[{place}]"), name, None));
    let set = edits.set.iter().map(|(name, value)| (format!("set.{name}"), name, Some(value)));
    let added = edits.add.iter().map(|(name, value)| (format!("add.{name}"), name, Some(value)));
    for (key, name, value) in removed.chain(set).chain(added) {
        let wrong =
            fields::check_name(name).and_then(|()| value.map_or(Ok(()), |value| fields::check_value(value)));
        if let Err(error) = wrong {
            errors.add(format!("{at}.{key}"), format!("`{name}` {}", error.reason()));
        }
    }
}

fn check_action(
    names: &Names<'_>,
    route: &spec::Route,
    at: &str,
    errors: &mut Errors,
) -> Option<CheckedAction> {
    match &route.action {
        spec::Action::Cluster(name) => {
            names.cluster(name, format!("{at}.cluster"), errors).map(CheckedAction::Cluster)
        }
        spec::Action::Split(choices) => check_split(names, choices, at, errors),
        spec::Action::Redirect(redirect) => {
            check_redirect(redirect, &format!("{at}.redirect"), errors);
            Some(CheckedAction::Local)
        }
        spec::Action::Respond(respond) => {
            check_respond(respond, &format!("{at}.respond"), errors);
            Some(CheckedAction::Local)
        }
    }
}

fn check_split(
    names: &Names<'_>,
    choices: &[(Arc<str>, u32)],
    at: &str,
    errors: &mut Errors,
) -> Option<CheckedAction> {
    let mut resolved = Vec::with_capacity(choices.len());
    for (place, (name, weight)) in choices.iter().enumerate() {
        let path = format!("{at}.split[{place}].cluster");
        resolved.extend(names.cluster(name, path, errors).map(|id| (id, *weight)));
    }
    for (place, _) in duplicates(choices, |(name, _)| Some(name.clone())) {
        let name = &choices[place].0;
        errors.add(format!("{at}.split[{place}].cluster"), format!("cluster `{name}` is there twice"));
    }
    if resolved.len() < choices.len() {
        return None;
    }
    match Split::new(&resolved) {
        Ok(split) => return Some(CheckedAction::Split(split)),
        Err(WeightsError::NoneLeft) => errors.add(format!("{at}.split"), "no cluster has a weight above 0"),
        Err(WeightsError::SumTooLarge) => {
            errors.add(format!("{at}.split"), format!("the sum of the weights is above {WEIGHT_SUM_MAX}"));
        }
    }
    None
}

fn check_redirect(redirect: &spec::Redirect, at: &str, errors: &mut Errors) {
    if !matches!(redirect.status, 301 | 302 | 303 | 307 | 308) {
        errors
            .add(format!("{at}.status"), format!("`{}` is none of 301, 302, 303, 307, 308", redirect.status));
    }
    if let Some(scheme) = &redirect.scheme
        && !matches!(&**scheme, "http" | "https")
    {
        let near = nearest(scheme, ["http", "https"]);
        errors.suggest(format!("{at}.scheme"), format!("`{scheme}` is neither `http` nor `https`"), near);
    }
    if let Some(host) = &redirect.host
        && !ringway_wire::h1::is_valid_authority(host.as_bytes())
    {
        errors.add(format!("{at}.host"), format!("`{host}` is not a host"));
    }
    if redirect.port == Some(0) {
        errors.add(format!("{at}.port"), "must not be 0");
    }
    if let Some(path) = &redirect.path {
        check_path(path, &format!("{at}.path"), errors);
    }
    if redirect.scheme.is_none()
        && redirect.host.is_none()
        && redirect.port.is_none()
        && redirect.path.is_none()
    {
        errors.add(at, "leads back to the same place: the client would come for ever");
    }
}

fn check_respond(respond: &spec::Respond, at: &str, errors: &mut Errors) {
    if !(200..=599).contains(&respond.status) {
        errors.add(format!("{at}.status"), format!("`{}` is not between 200 and 599", respond.status));
    }
    if !may_have_body(respond.status) && !respond.body.is_empty() {
        errors.add(format!("{at}.body"), format!("a response of status {} has no content", respond.status));
    }
    if let Some(content_type) = &respond.content_type
        && let Err(error) = fields::check_value(content_type)
    {
        errors.add(format!("{at}.content_type"), error.reason());
    }
}

/// Places of the routes that apply to an HTTP listener.
pub(super) fn applying(spec: &Spec, listener: &spec::Listener) -> Vec<usize> {
    let applies =
        |route: &spec::Route| route.listeners.is_empty() || route.listeners.contains(&listener.name);
    (0..spec.routes.len()).filter(|&place| applies(&spec.routes[place])).collect()
}

/// The table of those routes, one of the previous snapshot if it would be the same.
pub(super) fn table(
    spec: &Spec,
    members: &[usize],
    actions: &[Option<CheckedAction>],
    previous: Option<&Snapshot>,
    errors: &mut Errors,
) -> Arc<RouteTable> {
    let same = |listener: &&Arc<Listener>| {
        let before = listener.routes.routes();
        before.len() == members.len()
            && before.iter().zip(members).all(|(before, &place)| {
                before.spec == spec.routes[place]
                    && actions[place].as_ref().is_some_and(|action| action.is_that_of(before))
            })
    };
    if let Some(listener) = previous.and_then(|previous| previous.listeners.iter().find(same)) {
        return listener.routes.clone();
    }
    // With errors the snapshot is not published: an empty table stands in.
    let routes = if errors.list.is_empty() {
        members.iter().filter_map(|&place| compile(&spec.routes[place], actions[place].as_ref()?)).collect()
    } else {
        Vec::new()
    };
    match RouteTable::new(routes) {
        Ok(table) => Arc::new(table),
        Err((place, why)) => {
            errors.add(format!("routes[{}].path.regex", members[place]), why);
            Arc::default()
        }
    }
}

impl CheckedAction {
    /// Whether `route`, compiled earlier from the same specification, has this action.
    fn is_that_of(&self, route: &Route) -> bool {
        match (self, &route.action) {
            (CheckedAction::Cluster(id), Action::Cluster(before)) => id == before,
            (CheckedAction::Split(split), Action::Split(before)) => split == before,
            (CheckedAction::Local, Action::Redirect(_) | Action::Respond(_)) => true,
            _ => false,
        }
    }
}

/// The compiled form of a route that was checked; `None` if it was not.
fn compile(route: &spec::Route, action: &CheckedAction) -> Option<Route> {
    let conditions = conditions(&route.matches)?;
    let response_edits = Edits::new(&route.response_fields);
    let rewrite = |path: &Arc<str>| -> Option<PathRewrite> {
        let replacement = path::from_config(path).ok()?;
        Some(match &conditions.path {
            PathCondition::Prefix(prefix) => PathRewrite::new(Some(prefix), &replacement),
            _ => PathRewrite::new(None, &replacement),
        })
    };
    let action = match (&route.action, action) {
        (spec::Action::Redirect(redirect), _) => {
            Action::Redirect(Redirect::new(redirect, redirect.path.as_ref().and_then(rewrite)))
        }
        (spec::Action::Respond(respond), _) => Action::Respond(Respond::new(respond, &response_edits)),
        (_, CheckedAction::Cluster(id)) => Action::Cluster(*id),
        (_, CheckedAction::Split(split)) => Action::Split(split.clone()),
        (_, CheckedAction::Local) => return None,
    };
    Some(Route {
        path_rewrite: route.rewrite_path.as_ref().and_then(rewrite),
        request_edits: Edits::new(&route.request_fields),
        response_edits,
        action,
        conditions,
        spec: route.clone(),
    })
}

fn conditions(matches: &spec::Match) -> Option<Conditions> {
    let path = match &matches.path {
        spec::Path::Exact(text) => PathCondition::Exact(path::from_config(text).ok()?.into()),
        spec::Path::Prefix(text) => {
            let path = path::from_config(text).ok()?;
            PathCondition::Prefix(path.strip_suffix(b"/").unwrap_or(&path).into())
        }
        spec::Path::Regex(text) => PathCondition::Pattern((**text).into()),
    };
    Some(Conditions {
        host: matches.host.as_deref().map_or(Some(HostPattern::Any), |host| HostPattern::parse(host).ok())?,
        path,
        methods: Methods::new(&matches.methods),
        headers: matches.headers.iter().map(HeaderCondition::new).collect::<Result<_, _>>().ok()?,
        query: matches.query.iter().map(QueryCondition::new).collect::<Result<_, _>>().ok()?,
    })
}
