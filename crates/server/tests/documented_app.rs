//! The app that the README shows is a good one, in both languages.

use oyez_server::config::{self, Inputs};

const PAGES: [&str; 2] = [include_str!("../../../README.md"), include_str!("../../../README.zh-CN.md")];

/// The first block of TOML on a page.
fn app(page: &str) -> &str {
    let (_, rest) = page.split_once("```toml\n").expect("the page shows an app");
    rest.split_once("```").expect("the block ends").0
}

/// The app without its comments, which are in the page's language.
fn words(app: &str) -> Vec<&str> {
    app.lines().map(|line| line.split('#').next().unwrap_or_default().trim_end()).collect()
}

#[test]
fn the_app_of_the_readme_is_good() {
    for page in PAGES {
        let inputs = Inputs { env: &|_| Some("0123456789".repeat(4)), file: &|name| Err(name.to_owned()), dev: false };
        if let Err(problems) = config::check("oyez.toml", app(page), inputs) {
            panic!("{problems}");
        }
    }
}

#[test]
fn both_languages_show_the_same_app() {
    let [english, chinese] = PAGES.map(app).map(words);
    assert_eq!(english, chinese);
}
