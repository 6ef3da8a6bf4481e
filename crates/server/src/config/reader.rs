//! Reading typed values out of a TOML tree, by the schema. A mistake is noted and the default taken, so that one
//! pass finds all of them.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::LazyLock;
use std::time::Duration;

use oyez_hub::policy::expression::{ExpressionError, nearest};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Inputs;
use super::problem::{Problem, position, within};
use super::schema::{Key, Kind, Otherwise, Section};

/// A file being read.
pub(super) struct Doc<'d> {
    pub(super) file: &'d str,
    pub(super) source: &'d str,
    pub(super) inputs: Inputs<'d>,
    pub(super) problems: RefCell<Vec<Problem>>,
}

/// A text of the file with its place.
#[derive(Debug, Clone)]
pub(super) struct Located {
    pub(super) text: String,
    pub(super) span: Range<usize>,
}

/// A table of the file that is read by one section of the schema.
#[derive(Clone)]
pub(super) struct Node<'d> {
    pub(super) doc: &'d Doc<'d>,
    section: &'static Section,
    /// As an operator would write it: `app.plant.auth.jwt`.
    pub(super) path: String,
    table: &'d DeTable<'d>,
    pub(super) span: Range<usize>,
}

impl<'d> Doc<'d> {
    pub(super) fn problem(&self, offset: usize, message: impl Into<String>, help: Option<String>) {
        let (line, column) = position(self.source, offset);
        self.problems.borrow_mut().push(Problem {
            file: self.file.to_owned(),
            line,
            column,
            message: message.into(),
            help,
        });
    }

    /// The line of an offset, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        position(self.source, offset).0
    }

    /// Compiles an expression of the file; its mistake is noted where it stands.
    pub(super) fn compiled<T>(
        &self,
        value: &Located,
        compile: impl FnOnce(&str) -> Result<T, ExpressionError>,
    ) -> Option<T> {
        compile(&value.text)
            .map_err(|error| {
                let offset = within(self.source, &value.span, &value.text, error.offset.unwrap_or(0));
                self.problem(offset, error.message, error.help);
            })
            .ok()
    }
}

impl<'d> Node<'d> {
    /// Begins to read a table; keys that the schema does not know are noted.
    pub(super) fn new(
        doc: &'d Doc<'d>,
        section: &'static Section,
        path: String,
        table: &'d DeTable<'d>,
        span: Range<usize>,
    ) -> Self {
        for (key, _) in table.iter() {
            if section.keys.iter().any(|known| known.name == key.get_ref().as_ref()) {
                continue;
            }
            let place = if path.is_empty() { "the file".to_owned() } else { format!("[{path}]") };
            let words = section.keys.iter().map(|known| known.name);
            let help = match nearest(key.get_ref(), words.clone()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", words.collect::<Vec<_>>().join(", ")),
            };
            doc.problem(key.span().start, format!("unknown key `{}` in {place}", key.get_ref()), Some(help));
        }
        Self { doc, section, path, table, span }
    }

    pub(super) fn problem(&self, message: impl Into<String>, help: Option<String>) {
        self.doc.problem(self.span.start, message, help);
    }

    /// The line of the table, from 1.
    pub(super) fn line(&self) -> usize {
        self.doc.line(self.span.start)
    }

    fn key(&self, name: &str) -> &'static Key {
        self.section
            .keys
            .iter()
            .find(|key| key.name == name)
            .unwrap_or_else(|| panic!("{}.{name} is not in the schema", self.section.path))
    }

    /// The value as written, else the schema's default, which has no place and is pointed at by the table's.
    fn value(&self, name: &str) -> Option<(DeValue<'d>, Range<usize>)> {
        let key = self.key(name);
        if let Some(value) = self.table.get(name) {
            return Some((value.get_ref().clone(), value.span()));
        }
        match key.otherwise {
            Otherwise::Value(text) => {
                let value = DeValue::parse(text).unwrap_or_else(|error| panic!("the default of {name}: {error}"));
                Some((value.into_inner(), self.span.clone()))
            }
            Otherwise::Nothing => None,
            Otherwise::Required => {
                self.problem(
                    format!("{} is missing", self.full(name)),
                    Some(format!("write, for instance, {name} = {}", key.example)),
                );
                None
            }
        }
    }

    fn full(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The key is written in the file.
    pub(super) fn has(&self, name: &str) -> bool {
        debug_assert!(!self.key(name).name.is_empty());
        self.table.contains_key(name)
    }

    /// The line of a key, or of its table when only its default holds.
    pub(super) fn line_of(&self, name: &str) -> usize {
        self.table.get(name).map_or(0, |value| self.doc.line(value.span().start))
    }

    fn wrong(&self, name: &str, span: &Range<usize>, wanted: &str) {
        let help = format!("for instance {name} = {}", self.key(name).example);
        self.doc.problem(span.start, format!("{} must be {wanted}", self.full(name)), Some(help));
    }

    pub(super) fn text(&self, name: &str) -> Option<Located> {
        match self.value(name)? {
            (DeValue::String(text), span) => Some(Located { text: text.into_owned(), span }),
            (_, span) => {
                self.wrong(name, &span, "text");
                None
            }
        }
    }

    /// One text or several; each with its place. `true` and `false` count where expressions are meant.
    pub(super) fn texts(&self, name: &str) -> Vec<Located> {
        let Some((value, span)) = self.value(name) else {
            return Vec::new();
        };
        let items = match value {
            DeValue::Array(items) => items.into_iter().map(|item| (item.span(), item.into_inner())).collect(),
            one => vec![(span, one)],
        };
        let mut texts = Vec::with_capacity(items.len());
        for (span, item) in items {
            match item {
                DeValue::String(text) => texts.push(Located { text: text.into_owned(), span }),
                _ => self.wrong(name, &span, "text or a list of texts"),
            }
        }
        if let Kind::Choices(words) = self.key(name).kind {
            texts.retain(|text| self.is_word(name, text, words));
        }
        texts
    }

    fn is_word(&self, name: &str, text: &Located, words: &[&str]) -> bool {
        let known = words.contains(&text.text.as_str());
        if !known {
            let help = nearest(&text.text, words.iter().copied())
                .map_or_else(|| format!("one of {}", words.join(", ")), |near| format!("did you mean `{near}`?"));
            self.doc.problem(text.span.start, format!("{} does not know `{}`", self.full(name), text.text), Some(help));
        }
        known
    }

    pub(super) fn plain_texts(&self, name: &str) -> Vec<String> {
        self.texts(name).into_iter().map(|located| located.text).collect()
    }

    pub(super) fn boolean(&self, name: &str) -> bool {
        match self.value(name) {
            Some((DeValue::Boolean(value), _)) => value,
            Some((_, span)) => {
                self.wrong(name, &span, "true or false");
                false
            }
            None => false,
        }
    }

    pub(super) fn integer(&self, name: &str) -> Option<u64> {
        let (value, span) = self.value(name)?;
        let number = value.as_integer().and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
        if number.is_none() {
            self.wrong(name, &span, "a whole number, 0 or more");
        }
        number
    }

    pub(super) fn duration(&self, name: &str) -> Duration {
        self.measured(name, "a duration such as \"500ms\", \"30s\", \"5m\", \"1h\" or \"1d\"", |value| {
            let text = value.as_str()?;
            let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
            let millis = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)]
                .into_iter()
                .find(|(name, _)| *name == unit)?
                .1;
            // A year is longer than any deadline here, and keeps every sum of deadlines far from overflow.
            number
                .parse::<u64>()
                .ok()?
                .checked_mul(millis)
                .filter(|ms| *ms <= 366 * 86_400_000)
                .map(Duration::from_millis)
        })
        .unwrap_or_default()
    }

    pub(super) fn size(&self, name: &str) -> usize {
        self.measured(name, "a size such as \"64KiB\", \"1MB\" or a number of bytes", |value| {
            if let Some(number) = value.as_integer() {
                return usize::from_str_radix(number.as_str(), number.radix()).ok();
            }
            let text = value.as_str()?;
            let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
            let units = [("B", 1), ("KB", 1000), ("KiB", 1 << 10), ("MB", 1_000_000), ("MiB", 1 << 20)];
            let bytes = units.into_iter().find(|(name, _)| *name == unit)?.1;
            number.parse::<usize>().ok()?.checked_mul(bytes)
        })
        .unwrap_or_default()
    }

    fn measured<T>(&self, name: &str, wanted: &str, measure: impl FnOnce(&DeValue<'_>) -> Option<T>) -> Option<T> {
        let (value, span) = self.value(name)?;
        let measured = measure(&value);
        if measured.is_none() {
            self.wrong(name, &span, wanted);
        }
        measured
    }

    /// The secrets behind a key; what cannot be found is noted with its remedy.
    pub(super) fn secrets(&self, name: &str) -> Vec<String> {
        let Some((value, span)) = self.value(name) else {
            return Vec::new();
        };
        let items = match value {
            DeValue::Array(items) => items.into_iter().map(|item| (item.span(), item.into_inner())).collect(),
            one => vec![(span, one)],
        };
        items.into_iter().filter_map(|(span, item)| self.secret(name, &span, &item)).collect()
    }

    fn secret(&self, name: &str, span: &Range<usize>, item: &DeValue<'_>) -> Option<String> {
        let source = |key: &str| {
            item.as_table().filter(|table| table.len() == 1)?.get(key)?.get_ref().as_str().map(str::to_owned)
        };
        let (found, from) = if let Some(text) = item.as_str() {
            (Some(text.to_owned()), "the text".to_owned())
        } else if let Some(variable) = source("env") {
            let found = (self.doc.inputs.env)(&variable).filter(|text| !text.is_empty());
            if found.is_none() {
                let message =
                    format!("{} comes from the environment variable {variable}, which is not set", self.full(name));
                self.doc.problem(span.start, message, Some(format!("export {variable}=… before starting")));
            }
            (found, variable)
        } else if let Some(path) = source("file") {
            match (self.doc.inputs.file)(&path) {
                Ok(text) => (Some(text.trim_end().to_owned()), path),
                Err(error) => {
                    self.doc.problem(
                        span.start,
                        format!("{} comes from the file {path}: {error}", self.full(name)),
                        None,
                    );
                    (None, path)
                }
            }
        } else {
            self.wrong(name, span, "text, { env = \"NAME\" } or { file = \"path\" }");
            return None;
        };
        if found.as_deref().is_some_and(str::is_empty) {
            self.doc.problem(span.start, format!("{} is empty", self.full(name)), Some(format!("fill {from}")));
            return None;
        }
        found
    }

    /// The table under a key.
    pub(super) fn child(&self, name: &str) -> Option<Node<'d>> {
        let section = match self.key(name).kind {
            Kind::Table(section) => section,
            other => unreachable!("{name} is {other:?}, not a table"),
        };
        if self.table.get(name).is_none() {
            self.value(name)?;
        }
        self.node(section, self.full(name), self.table.get(name)?)
    }

    /// The same table as it would be if it were empty; for sections whose defaults suffice.
    pub(super) fn child_or_default(&self, name: &str) -> Node<'d> {
        static EMPTY: LazyLock<DeTable<'static>> = LazyLock::new(DeTable::new);
        let Kind::Table(section) = self.key(name).kind else { unreachable!("{name} is not a table") };
        self.child(name).unwrap_or_else(|| Node::new(self.doc, section, self.full(name), &EMPTY, self.span.clone()))
    }

    /// The tables under a key; one written alone counts as a list of one.
    pub(super) fn children(&self, name: &str) -> Vec<Node<'d>> {
        let Kind::Tables(section) = self.key(name).kind else { unreachable!("{name} is no list of tables") };
        match self.table.get(name).map(|value| (value, value.get_ref())) {
            None => Vec::new(),
            Some((_, DeValue::Array(items))) => {
                items.iter().filter_map(|item| self.node(section, self.full(name), item)).collect()
            }
            Some((value, _)) => self.node(section, self.full(name), value).into_iter().collect(),
        }
    }

    /// The tables under a key, by their names.
    pub(super) fn named(&self, name: &str) -> Vec<(Located, Node<'d>)> {
        let Kind::Named(section) = self.key(name).kind else { unreachable!("{name} has no names") };
        if self.table.get(name).is_none() {
            let _ = self.value(name);
        }
        let Some(value) = self.table.get(name) else {
            return Vec::new();
        };
        let Some(table) = value.get_ref().as_table() else {
            self.doc.problem(
                value.span().start,
                format!("{} needs a name: [{}.NAME]", self.full(name), self.full(name)),
                None,
            );
            return Vec::new();
        };
        table
            .iter()
            .filter_map(|(key, value)| {
                let word = Located { text: key.get_ref().to_string(), span: key.span() };
                Some((word.clone(), self.node(section, format!("{}.{}", self.full(name), word.text), value)?))
            })
            .collect()
    }

    /// A table within a value that is not always one, such as `subscribe = { ask = … }`.
    pub(super) fn inner(&self, name: &str, section: &'static Section) -> Option<Node<'d>> {
        let value = self.table.get(name).filter(|value| value.get_ref().is_table())?;
        self.node(section, self.full(name), value)
    }

    /// A right that is written `true` or `false`.
    pub(super) fn truth(&self, name: &str) -> Option<bool> {
        match self.value(name)? {
            (DeValue::Boolean(truth), _) => Some(truth),
            _ => None,
        }
    }

    /// The free keys of a table whose values are one text or several.
    pub(super) fn free(&self, name: &str) -> Vec<(Located, Vec<Located>)> {
        let Some(value) = self.table.get(name) else {
            return Vec::new();
        };
        let Some(table) = value.get_ref().as_table() else {
            self.wrong(name, &value.span(), "a table");
            return Vec::new();
        };
        table
            .iter()
            .map(|(key, value)| {
                let items = match value.get_ref() {
                    DeValue::Array(items) => items.iter().collect(),
                    _ => vec![value],
                };
                let texts = items.into_iter().filter_map(|item| self.free_text(name, item)).collect();
                (Located { text: key.get_ref().to_string(), span: key.span() }, texts)
            })
            .collect()
    }

    fn free_text(&self, name: &str, item: &Spanned<DeValue<'_>>) -> Option<Located> {
        let text = item.get_ref().as_str().map(|text| Located { text: text.to_owned(), span: item.span() });
        if text.is_none() {
            self.wrong(name, &item.span(), "a table of expressions");
        }
        text
    }

    fn node(&self, section: &'static Section, path: String, value: &'d Spanned<DeValue<'d>>) -> Option<Node<'d>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Node::new(self.doc, section, path, table, value.span())),
            _ => {
                self.doc.problem(
                    value.span().start,
                    format!("{path} must be a table"),
                    Some(format!("write [{path}] and its keys below")),
                );
                None
            }
        }
    }
}
