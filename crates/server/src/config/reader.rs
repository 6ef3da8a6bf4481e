//! Reading typed values out of a TOML tree, by the schema. A mistake is noted and the default taken, so that one
//! pass finds all of them.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::LazyLock;

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
    /// Where secrets and certificates come from; none: only the rules are of interest.
    pub(super) inputs: Option<Inputs<'d>>,
    pub(super) problems: RefCell<Vec<Problem>>,
    pub(super) notes: RefCell<Vec<Problem>>,
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
    pub(super) table: &'d DeTable<'d>,
    pub(super) span: Range<usize>,
}

impl<'d> Doc<'d> {
    pub(super) fn problem(&self, offset: usize, message: impl Into<String>, help: Option<String>) {
        self.problems.borrow_mut().push(self.remark(offset, message.into(), help));
    }

    /// What is allowed, and may be meant, but is worth a second look.
    pub(super) fn note(&self, offset: usize, message: impl Into<String>, help: Option<String>) {
        self.notes.borrow_mut().push(self.remark(offset, message.into(), help));
    }

    fn remark(&self, offset: usize, message: String, help: Option<String>) -> Problem {
        let (line, column) = position(self.source, offset);
        Problem { file: self.file.to_owned(), line, column, message, help }
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
                _ if path == "server" && matches!(key.get_ref().as_ref(), "data_dir" | "store") => {
                    "the command line says it: oyez serve --data-dir DIR".to_owned()
                }
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

    pub(super) fn key(&self, name: &str) -> &'static Key {
        self.section
            .keys
            .iter()
            .find(|key| key.name == name)
            .unwrap_or_else(|| panic!("{}.{name} is not in the schema", self.section.path))
    }

    /// The value as written, else the schema's default, which has no place and is pointed at by the table's.
    pub(super) fn value(&self, name: &str) -> Option<(DeValue<'d>, Range<usize>)> {
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
            // A key that is only misspelt has been told of already.
            Otherwise::Required if self.is_misspelt(name) => None,
            Otherwise::Required => {
                self.problem(
                    format!("{} is missing", self.full(name)),
                    Some(format!("write, for instance, {}", key.written(&self.path))),
                );
                None
            }
        }
    }

    /// Some key of the table is none, but nearest to this one.
    fn is_misspelt(&self, name: &str) -> bool {
        let names = || self.section.keys.iter().map(|known| known.name);
        let unknown = |key: &&str| !names().any(|known| known == *key);
        self.table
            .iter()
            .map(|(key, _)| key.get_ref().as_ref())
            .filter(unknown)
            .any(|key| nearest(key, names()) == Some(name))
    }

    pub(super) fn full(&self, name: &str) -> String {
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

    pub(super) fn wrong(&self, name: &str, span: &Range<usize>, wanted: &str) {
        let help = format!("for instance {}", self.key(name).written(&self.path));
        self.doc.problem(span.start, format!("{} must be {wanted}", self.full(name)), Some(help));
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

    /// The tables under a key with their names, in the order of the file.
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
                format!("{} needs a name", self.full(name)),
                Some(format!("write [{}.NAME]", self.full(name))),
            );
            return Vec::new();
        };
        let nodes = table.iter().filter_map(|(key, value)| {
            let word = Located { text: key.get_ref().to_string(), span: key.span() };
            Some((word.clone(), self.node(section, format!("{}.{}", self.full(name), word.text), value)?))
        });
        let mut named: Vec<_> = nodes.collect();
        named.sort_by_key(|(word, _)| word.span.start);
        named
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
