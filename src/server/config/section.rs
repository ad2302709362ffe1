//! Reading a TOML table key by key, so that everything that is wrong is found at once, and where.
//!
//! Deserializing with serde would stop at the first mistake.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{BadValue, Place, Problem};

/// How alike a key and a known one have to be for a hint; `lisen` and `listen` are 0.95 alike.
const ALIKE: f64 = 0.85;

/// A value with its place in the text.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// The file that is read, and what was found wrong in it so far.
#[derive(Debug)]
pub(super) struct Source<'t> {
    path: &'t Path,
    text: &'t str,
    /// With the offset in the text.
    problems: Vec<(usize, Problem)>,
}

impl<'t> Source<'t> {
    pub(super) fn new(path: &'t Path, text: &'t str) -> Self {
        Self { path, text, problems: Vec::new() }
    }

    /// Notes that something is wrong at `span`.
    pub(super) fn blame(&mut self, span: Range<usize>, message: impl Into<String>) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let place = Place::File {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        };
        self.problems.push((span.start, Problem { place, message: message.into() }));
    }

    /// What is wrong, in the order of the text.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|(offset, _)| *offset);
        self.problems.into_iter().map(|(_, problem)| problem).collect()
    }

    /// What was read at `span`, if it is good.
    pub(super) fn check<T>(&mut self, span: Range<usize>, read: Result<T, BadValue>) -> Option<T> {
        read.map_err(|bad| self.blame(span, bad.to_string())).ok()
    }
}

/// A table whose keys are asked for one by one.
#[derive(Debug)]
pub(super) struct Section<'a, 't> {
    table: &'a DeTable<'t>,
    span: Range<usize>,
    known: Vec<&'static str>,
}

impl<'a, 't> Section<'a, 't> {
    pub(super) fn new(table: &'a DeTable<'t>, span: Range<usize>) -> Self {
        Self { table, span, known: Vec::new() }
    }

    /// The value of a key, as `read` has it.
    pub(super) fn one<T>(
        &mut self,
        source: &mut Source<'_>,
        key: &'static str,
        read: impl FnOnce(&mut Source<'_>, &Value<'t>) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(key)?;
        read(source, value)
    }

    /// The same for a key that has to be there.
    pub(super) fn required<T>(
        &mut self,
        source: &mut Source<'_>,
        key: &'static str,
        read: impl FnOnce(&mut Source<'_>, &Value<'t>) -> Option<T>,
    ) -> Option<T> {
        let Some(value) = self.get(key) else {
            source.blame(self.span.clone(), format!("the key {key} is missing here"));
            return None;
        };
        read(source, value)
    }

    /// The values of a key: a list, or one alone.
    pub(super) fn many<T>(
        &mut self,
        source: &mut Source<'_>,
        key: &'static str,
        mut read: impl FnMut(&mut Source<'_>, &Value<'t>) -> Option<T>,
    ) -> Vec<T> {
        match self.get(key).map(|value| (value, value.get_ref())) {
            Some((_, DeValue::Array(values))) => {
                values.iter().filter_map(|value| read(source, value)).collect()
            }
            Some((value, _)) => read(source, value).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// Notes the keys that nobody has asked for.
    pub(super) fn finish(self, source: &mut Source<'_>) {
        for key in self.table.keys().filter(|key| !self.known.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref();
            let hint = nearest(name, &self.known).map(|known| format!("; did you mean {known}?"));
            source.blame(key.span(), format!("unknown key {name:?}{}", hint.unwrap_or_default()));
        }
    }

    fn get(&mut self, key: &'static str) -> Option<&'a Value<'t>> {
        self.known.push(key);
        self.table.get(key)
    }
}

fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let name = name.replace('-', "_");
    let alike = known.iter().map(|known| (strsim::jaro_winkler(&name, known), *known));
    let nearest = alike.filter(|(alike, _)| *alike >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0));
    nearest.map(|(_, known)| known)
}

/// A text, read by `parse`.
pub(super) fn text<T>(
    parse: impl Fn(&str) -> Result<T, BadValue>,
) -> impl Fn(&mut Source<'_>, &Value<'_>) -> Option<T> {
    move |source, value| {
        let Some(text) = value.get_ref().as_str() else {
            return wrong_type(source, value, "a text in quotes");
        };
        source.check(value.span(), parse(text))
    }
}

/// A whole number, or a text, read by `parse`; `wanted` says what it should be.
pub(super) fn number<T>(
    wanted: &'static str,
    parse: impl Fn(&str) -> Result<T, BadValue>,
) -> impl Fn(&mut Source<'_>, &Value<'_>) -> Option<T> {
    move |source, value| {
        let read = match value.get_ref() {
            DeValue::String(text) => parse(text),
            // Its text is without the underscores that TOML allows.
            DeValue::Integer(number) if number.radix() == 10 => parse(number.as_str()),
            _ => return wrong_type(source, value, wanted),
        };
        source.check(value.span(), read)
    }
}

/// `true` or `false`.
pub(super) fn boolean(source: &mut Source<'_>, value: &Value<'_>) -> Option<bool> {
    match value.get_ref() {
        DeValue::Boolean(boolean) => Some(*boolean),
        _ => wrong_type(source, value, "true or false"),
    }
}

fn wrong_type<T>(source: &mut Source<'_>, value: &Value<'_>, wanted: &str) -> Option<T> {
    source.blame(value.span(), format!("this should be {wanted}, not {}", kind(value.get_ref())));
    None
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text in quotes",
        DeValue::Integer(number) if number.radix() != 10 => "a number to another base",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
