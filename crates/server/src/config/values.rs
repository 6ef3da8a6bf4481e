//! The values of a table: texts, numbers, durations, sizes, secrets.

use std::ops::Range;
use std::time::Duration;

use oyez_hub::policy::expression::nearest;
use toml::de::DeValue;

use super::Inputs;
use super::reader::{Located, Node};
use super::reference::grouped;
use super::schema::{Bounds, Kind};

impl Node<'_> {
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

    /// The one word of several that this is.
    pub(super) fn choice(&self, name: &str) -> Option<String> {
        let Kind::Choice(words) = self.key(name).kind else { unreachable!("{name} is no choice") };
        self.text(name).filter(|text| self.is_word(name, text, words)).map(|text| text.text)
    }

    /// A limit; none when there is none, or when it was a mistake, which has been noted then.
    pub(super) fn count(&self, name: &str) -> Option<u64> {
        let Kind::Count(bounds) = self.key(name).kind else { unreachable!("{name} is no count") };
        let (value, span) = self.value(name)?;
        if bounds.none && value.as_str() == Some("none") {
            return None;
        }
        let number = value.as_integer().and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
        self.bounded(name, &span, number, bounds)
    }

    /// A number that is within its bounds.
    fn bounded(&self, name: &str, span: &Range<usize>, number: Option<u64>, bounds: Bounds) -> Option<u64> {
        let good = number.filter(|number| (bounds.least..=bounds.most).contains(number));
        if good.is_none() {
            let (least, most) = (grouped(bounds.least), grouped(bounds.most));
            let none = if bounds.none { ", or \"none\" for no limit" } else { "" };
            let message = match number {
                Some(number) => format!("{} is {number}, and must be {least} to {most}", self.full(name)),
                None => format!("{} must be a number", self.full(name)),
            };
            self.doc.problem(span.start, message, Some(format!("write {least} to {most}{none}")));
        }
        good
    }

    pub(super) fn duration(&self, name: &str) -> Duration {
        self.good_duration(name).unwrap_or_default()
    }

    /// None, if what is written is none.
    pub(super) fn good_duration(&self, name: &str) -> Option<Duration> {
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
    }

    pub(super) fn size(&self, name: &str) -> usize {
        let Kind::Size(bounds) = self.key(name).kind else { unreachable!("{name} is no size") };
        let size = self.measured(name, "a size such as \"64KiB\", \"1MB\" or a number of bytes", |value| {
            if let Some(number) = value.as_integer() {
                return u64::from_str_radix(number.as_str(), number.radix()).ok();
            }
            let text = value.as_str()?;
            let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
            let units = [("B", 1), ("KB", 1000), ("KiB", 1 << 10), ("MB", 1_000_000), ("MiB", 1 << 20)];
            let bytes = units.into_iter().find(|(name, _)| *name == unit)?.1;
            number.parse::<u64>().ok()?.checked_mul(bytes)
        });
        let (size, span) = match (size, self.value(name)) {
            (Some(size), Some((_, span))) => (size, span),
            _ => return 0,
        };
        self.bounded(name, &span, Some(size), bounds).and_then(|size| usize::try_from(size).ok()).unwrap_or_default()
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
        let Some(inputs) = self.doc.inputs else { return Vec::new() };
        let items = match value {
            DeValue::Array(items) => items.into_iter().map(|item| (item.span(), item.into_inner())).collect(),
            one => vec![(span, one)],
        };
        items.into_iter().filter_map(|(span, item)| self.secret(name, &span, &item, inputs)).collect()
    }

    /// Where something is that is off while its environment variable is not set.
    pub(super) fn address(&self, name: &str) -> Option<String> {
        let (value, _) = self.value(name)?;
        let variable = value.as_table().and_then(|table| table.get("env")?.get_ref().as_str().map(str::to_owned));
        let inputs = self.doc.inputs?;
        if variable.is_some_and(|variable| (inputs.env)(&variable).is_none_or(|text| text.is_empty())) {
            return None;
        }
        self.secrets(name).into_iter().next()
    }

    fn secret(&self, name: &str, span: &Range<usize>, item: &DeValue<'_>, inputs: Inputs<'_>) -> Option<String> {
        let source = |key: &str| {
            item.as_table().filter(|table| table.len() == 1)?.get(key)?.get_ref().as_str().map(str::to_owned)
        };
        let (found, from) = if let Some(text) = item.as_str() {
            (Some(text.to_owned()), "the text".to_owned())
        } else if let Some(variable) = source("env") {
            let found = (inputs.env)(&variable).filter(|text| !text.is_empty());
            if found.is_none() {
                let message =
                    format!("{} comes from the environment variable {variable}, which is not set", self.full(name));
                self.doc.problem(span.start, message, Some(format!("export {variable}=… before starting")));
            }
            (found, variable)
        } else if let Some(path) = source("file") {
            match (inputs.file)(&path) {
                Ok(text) => (Some(text.trim_end().to_owned()), path),
                Err(error) => {
                    let message = format!("{} comes from the file {path}: {error}", self.full(name));
                    let help = "a relative path starts where this file is; it must be readable".to_owned();
                    self.doc.problem(span.start, message, Some(help));
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
}
