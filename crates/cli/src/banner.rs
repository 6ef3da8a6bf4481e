//! What `oyez dev` says when it is ready: links and credentials that work, in the reader's language.

use std::fmt::Write as _;

use crate::say::Language;

/// What the banner shows.
#[derive(Debug)]
pub(crate) struct Banner<'a> {
    /// Where the server listens, `http://…` or `https://…` without a trailing slash.
    pub(crate) url: &'a str,
    /// The built-in demo page is served.
    pub(crate) demo: bool,
    /// A user's id and token.
    pub(crate) user: Option<(&'a str, &'a str)>,
    /// An administrator's id and token.
    pub(crate) admin: Option<(&'a str, &'a str)>,
    /// A key that may publish.
    pub(crate) key: Option<&'a str>,
    /// The file that keeps the secrets.
    pub(crate) file: &'a str,
}

impl Banner<'_> {
    /// The text, ending with a line's end.
    pub(crate) fn text(&self, language: Language) -> String {
        let say = |english: &'static str, chinese: &'static str| match language {
            Language::English => english,
            Language::Chinese => chinese,
        };
        let mut out =
            format!("\n  {}\n\n", say("Oyez, for development on this machine only", "Oyez 开发模式，仅限本机访问"));
        if self.demo {
            row(&mut out, say("Demo page", "演示页面"), &format!("{}/", self.url));
        }
        row(&mut out, say("API and docs", "API 文档"), &format!("{}/api/docs", self.url));
        for (label, token) in
            [(say("User token", "用户令牌"), self.user), (say("Admin token", "管理员令牌"), self.admin)]
        {
            if let Some((id, token)) = token {
                row(&mut out, label, &format!("({id}) {token}"));
            }
        }
        if self.user.is_none() {
            let elsewhere = say("made elsewhere; `oyez token` says where", "由别处签发；`oyez token` 会说明由谁签发");
            row(&mut out, say("User token", "用户令牌"), elsewhere);
        }
        if let Some(key) = self.key {
            row(&mut out, say("API key", "API 密钥"), key);
        }
        row(&mut out, say("Secrets", "密钥文件"), self.file);
        if let (Some(key), Some((id, _))) = (self.key, self.user) {
            let title = say("Send that user a notification:", "向该用户发送一条通知：");
            let title = if self.demo {
                say("Send the demo page a notification:", "向演示页面发送一条通知：")
            } else {
                title
            };
            let data = say(r#"{"title":"Hello","message":"from curl"}"#, r#"{"title":"你好","message":"来自 curl"}"#);
            // The certificate of a server on this machine is nobody's that curl knows.
            let curl = if self.url.starts_with("https:") { "curl -k" } else { "curl" };
            let _ = write!(
                out,
                "\n  {title}\n\n  {curl} {}/api/v1/publish -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \
                 -d '{{\"to\":\"user:{id}\",\"event\":\"notification\",\"data\":{data}}}'\n",
                self.url
            );
        }
        let _ = writeln!(out, "\n  {}", say("Ctrl-C ends it.", "按 Ctrl-C 结束。"));
        out
    }
}

/// A label and its value; the values of all rows begin in one column.
fn row(out: &mut String, label: &str, value: &str) {
    const COLUMN: usize = 14;
    // A Chinese character takes two columns of a terminal.
    let width: usize = label.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum();
    let _ = writeln!(out, "  {label}{}{value}", " ".repeat(COLUMN.saturating_sub(width)));
}

#[cfg(test)]
mod tests {
    use super::*;

    const BANNER: Banner<'_> = Banner {
        url: "http://127.0.0.1:3001",
        demo: true,
        user: Some(("demo", "U")),
        admin: Some(("admin", "A")),
        key: Some("K"),
        file: ".oyez/dev.json",
    };

    #[test]
    fn the_banner_is_aligned_in_both_languages() {
        let english = BANNER.text(Language::English);
        assert!(english.contains("\n  Demo page     http://127.0.0.1:3001/\n"), "{english}");
        assert!(english.contains("\n  User token    (demo) U\n"), "{english}");
        assert!(
            english.contains("curl http://127.0.0.1:3001/api/v1/publish -H 'Authorization: Bearer K'"),
            "{english}"
        );
        let chinese = BANNER.text(Language::Chinese);
        assert!(chinese.contains("\n  演示页面      http://127.0.0.1:3001/\n"), "{chinese}");
        assert!(chinese.contains("\n  管理员令牌    (admin) A\n"), "{chinese}");
    }

    #[test]
    fn with_tls_the_command_still_works() {
        let text = Banner { url: "https://127.0.0.1:3001", ..BANNER }.text(Language::English);
        assert!(text.contains("curl -k https://127.0.0.1:3001/api/v1/publish"), "{text}");
    }

    #[test]
    fn who_makes_tokens_can_be_asked_where_dev_cannot() {
        let text = Banner { user: None, ..BANNER }.text(Language::English);
        assert!(text.contains("\n  User token    made elsewhere; `oyez token` says where\n"), "{text}");
    }

    #[test]
    fn what_is_not_there_is_not_shown() {
        let text = Banner { demo: false, admin: None, key: None, ..BANNER }.text(Language::English);
        for absent in ["Demo page", "Admin token", "API key", "curl"] {
            assert!(!text.contains(absent), "{absent}: {text}");
        }
    }
}
