//! Bars as SVG, readable on light and dark pages.

use std::fmt::Write;

/// A bar.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bar {
    pub(super) label: String,
    /// How long it is.
    pub(super) value: f64,
    /// A part of it that is drawn stronger: of a 99th percentile, the median.
    pub(super) inner: Option<f64>,
    /// What stands at its end.
    pub(super) text: String,
    pub(super) role: Role,
}

/// Whose bar it is; decides the colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Oyez,
    Limit,
    Peer,
}

const WIDTH: f64 = 720.0;
const LABELS: f64 = 170.0;
/// What the longest bar leaves for the text at its end.
const TEXTS: f64 = 170.0;
const ROW: f64 = 26.0;
const TOP: f64 = 34.0;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-weight:600}.oyez{fill:#c2410c}\
    .limit{fill:#8c959f}.peer{fill:#3b76b8}.outer{opacity:.45}@media(prefers-color-scheme:dark){text{fill:#e6edf3}\
    .oyez{fill:#fb8c3c}.limit{fill:#6e7681}.peer{fill:#5aa2ee}}";

/// The picture. `description` is for those who cannot see it.
pub(super) fn bars(title: &str, description: &str, bars: &[Bar]) -> String {
    let longest = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    let scale = (WIDTH - LABELS - TEXTS) / longest;
    let height = bars.iter().fold(TOP + 8.0, |height, _| height + ROW);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">\n\
         <style>{STYLE}</style>\n<text class=\"title\" x=\"8\" y=\"20\">{}</text>\n",
        escape(description),
        escape(title)
    );
    let mut top = TOP;
    for bar in bars {
        let class = match bar.role {
            Role::Oyez => "oyez",
            Role::Limit => "limit",
            Role::Peer => "peer",
        };
        let (text, end, inner) = (top + 15.0, LABELS + bar.value * scale, bar.inner.unwrap_or(bar.value));
        let rectangle = |class: &str, value: f64| {
            let width = (value * scale).max(1.0);
            format!(
                "<rect class=\"{class}\" x=\"{LABELS}\" y=\"{top}\" width=\"{width:.1}\" height=\"19\" rx=\"2\"/>\n"
            )
        };
        let outer = bar.inner.map_or_else(String::new, |_| rectangle(&format!("{class} outer"), bar.value));
        let right = LABELS - 8.0;
        let (label, value) = (escape(&bar.label), escape(&bar.text));
        // Writing to a string cannot fail.
        let _ = write!(
            svg,
            "<text x=\"{right}\" y=\"{text}\" text-anchor=\"end\">{label}</text>\n{outer}{}\
             <text x=\"{:.1}\" y=\"{text}\">{value}</text>\n",
            rectangle(class, inner),
            end + 7.0
        );
        top += ROW;
    }
    svg + "</svg>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_the_room_and_words_are_escaped() {
        let bar = |label: &str, value| Bar {
            label: label.to_owned(),
            value,
            inner: None,
            text: format!("{value} µs"),
            role: Role::Peer,
        };
        let svg = bars("CPU <per> delivery", "a \"b\"", &[bar("a & b", 1.0), bar("c", 4.0)]);
        for part in ["width=\"380.0\"", "width=\"95.0\"", "a &amp; b", "&lt;per>", "a &quot;b&quot;", "dark", "4 µs"] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
    }
}
