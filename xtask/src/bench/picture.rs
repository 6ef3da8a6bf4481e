//! Bars as SVG, readable on light and dark pages.

use std::fmt::Write;

use super::statistics::median;

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
    Variant,
    Limit,
    Peer,
}

impl Role {
    /// The name of its style.
    fn class(self) -> &'static str {
        match self {
            Self::Oyez => "oyez",
            Self::Variant => "variant",
            Self::Limit => "limit",
            Self::Peer => "peer",
        }
    }
}

const WIDTH: f64 = 720.0;
/// What a character of a label takes at most, on average: fonts differ, and none may cut it off.
const CHARACTER: f64 = 7.4;
/// Beside a label, or the text at the end of a bar.
const MARGIN: f64 = 8.0;
const ROW: f64 = 26.0;
const TOP: f64 = 34.0;
const THICK: f64 = 19.0;
/// A bar that is so many times as long as the one in the middle is cut: it would leave nothing to see of the others.
const FAR: f64 = 6.0;
/// How much of the room the longest bar takes that is not cut, where one is.
const UNCUT: f64 = 0.8;
/// How wide a break is, and how much it leans.
const BREAK: f64 = 6.0;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-weight:600}.oyez{fill:#c2410c}\
    .variant{fill:#e9a27c}.limit{fill:#8c959f}.peer{fill:#3b76b8}.outer{opacity:.45}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.oyez{fill:#fb8c3c}.variant{fill:#ffd0a8}\
    .limit{fill:#6e7681}.peer{fill:#5aa2ee}}";

/// Where bars begin and how long they may be.
struct Room {
    left: f64,
    width: f64,
    /// Of one unit.
    scale: f64,
    /// What is longer is cut.
    limit: f64,
}

impl Room {
    fn of(bars: &[Bar]) -> Self {
        let widest = |text: fn(&Bar) -> &str| {
            let characters = bars.iter().map(|bar| text(bar).chars().count()).max().unwrap_or(0);
            characters as f64 * CHARACTER
        };
        let left = widest(|bar| &bar.label) + 2.0 * MARGIN;
        let width = WIDTH - left - widest(|bar| &bar.text) - 2.0 * MARGIN;
        let values: Vec<f64> = bars.iter().map(|bar| bar.value).collect();
        let middle = median(&values).filter(|middle| *middle > 0.0);
        let limit = middle.map_or(f64::INFINITY, |middle| FAR * middle);
        let longest = values.iter().copied().filter(|value| *value <= limit).fold(f64::MIN_POSITIVE, f64::max);
        let is_cut = values.iter().any(|value| *value > limit);
        Self { left, width, scale: width * if is_cut { UNCUT } else { 1.0 } / longest, limit }
    }

    /// How long something is drawn.
    fn length(&self, value: f64) -> f64 {
        if value > self.limit { self.width } else { (value * self.scale).clamp(1.0, self.width) }
    }

    /// A bar, or a part of one; a cut one has a slanted gap.
    fn draw(&self, class: &str, value: f64, top: f64) -> String {
        let (left, length) = (self.left, self.length(value));
        if value <= self.limit {
            return format!(
                "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top}\" width=\"{length:.1}\" height=\"{THICK}\" rx=\"2\"/>\n"
            );
        }
        let (end, bottom) = (left + length, top + THICK);
        let low = left + length * 0.9;
        let high = low + BREAK;
        format!(
            "<path class=\"{class}\" d=\"M{left:.1} {top}H{:.1}L{low:.1} {bottom}H{left:.1}ZM{:.1} {top}H{end:.1}\
             V{bottom}H{high:.1}Z\"/>\n",
            low + BREAK,
            high + BREAK
        )
    }
}

/// The picture. `description` is for those who cannot see it.
pub(super) fn bars(title: &str, description: &str, bars: &[Bar]) -> String {
    let room = Room::of(bars);
    let height = bars.iter().fold(TOP + 8.0, |height, _| height + ROW);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">\n\
         <style>{STYLE}</style>\n<text class=\"title\" x=\"8\" y=\"20\">{}</text>\n",
        escape(description),
        escape(title)
    );
    let mut top = TOP;
    for bar in bars {
        let class = bar.role.class();
        let outer = bar.inner.map_or_else(String::new, |_| room.draw(&format!("{class} outer"), bar.value, top));
        let inner = room.draw(class, bar.inner.unwrap_or(bar.value), top);
        let (label, value) = (escape(&bar.label), escape(&bar.text));
        // Writing to a string cannot fail.
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{text}\" text-anchor=\"end\">{label}</text>\n{outer}{inner}\
             <text x=\"{:.1}\" y=\"{text}\">{value}</text>\n",
            room.left - MARGIN,
            room.left + room.length(bar.value) + MARGIN,
            text = top + 15.0,
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

    fn bar(label: &str, value: f64) -> Bar {
        Bar { label: label.to_owned(), value, inner: None, text: format!("{value} µs"), role: Role::Peer }
    }

    #[test]
    fn the_longest_bar_fills_the_room_and_words_are_escaped() {
        let svg = bars("CPU <per> delivery", "a \"b\"", &[bar("a & b", 1.0), bar("c", 4.0)]);
        // 720, less 5 characters and 4, and twice two margins.
        for part in ["width=\"621.4\"", "width=\"155.3\"", "a &amp; b", "&lt;per>", "a &quot;b&quot;", "dark", "4 µs"]
        {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert!(!svg.contains("<path"), "{svg}");
    }

    #[test]
    fn a_bar_that_is_far_longer_than_most_is_cut_and_says_its_figure() {
        let svg = bars("t", "d", &[bar("a", 1.0), bar("b", 2.0), bar("c", 4.0), bar("d", 100.0)]);
        assert_eq!(svg.matches("<path").count(), 1, "{svg}");
        assert!(svg.contains("100 µs"), "{svg}");
        // The longest of the others takes most of the room, but not all of it.
        let room = Room::of(&[bar("a", 1.0), bar("b", 2.0), bar("c", 4.0), bar("d", 100.0)]);
        assert!(room.length(4.0) < room.length(100.0) && room.length(4.0) > 0.7 * room.width);
        assert!(!bars("t", "d", &[bar("a", 0.0), bar("b", 0.0), bar("c", 9.0)]).contains("<path"));
    }

    #[test]
    fn the_longest_label_has_room_and_roles_have_colours_of_their_own() {
        let mut wide = bar("Oyez, two shards on two cores", 1.0);
        wide.role = Role::Variant;
        let svg = bars("t", "d", &[wide, bar("c", 2.0)]);
        assert!(svg.contains("<rect class=\"variant\" x=\"230.6\""), "{svg}");
        assert_eq!(STYLE.matches(".variant{").count(), 2, "light and dark");
    }
}
