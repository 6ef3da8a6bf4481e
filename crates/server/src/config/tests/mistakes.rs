//! What a wrong file is told: every mistake, where it stands, and what to write instead.

use super::{FILES, load_with_env};
use crate::config::{Inputs, Problems, load};
use crate::settings::AppLimits;

const GOOD: &str = r#"[app.desk]
origins = ["https://desk.example.com"]

[app.desk.auth.jwt]
algorithms = ["HS256"]
secret = { env = "JWT_SECRET" }

[app.desk.identity]
user = "claims.sub"
attributes = { sites = "claims.siteId" }

[[app.desk.channel]]
name = "site:{siteId}"
subscribe = "siteId in user.sites"

[[app.desk.on]]
event = "subscribe"
join = "site:{data.siteId}"
reply = { event = "subscribed", data = "{'siteId': data.siteId}" }
"#;

fn problems(source: &str) -> String {
    match load_with_env(source) {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string(),
    }
}

/// The good file with one text replaced, and each of the texts that the answer must hold.
fn check(from: &str, to: &str, expect: &[&str]) {
    assert!(GOOD.contains(from), "{from}");
    let said = problems(&GOOD.replacen(from, to, 1));
    for part in expect {
        assert!(said.contains(part), "{from} -> {to}\nexpected: {part}\nsaid:\n{said}");
    }
}

#[test]
fn a_good_file_is_good() {
    assert_eq!(problems(GOOD), "");
}

#[test]
#[rustfmt::skip] // a row a line
fn unknown_keys_and_words() {
    check("subscribe = \"s", "subscibe = \"s", &["oyez.toml:14:1: unknown key `subscibe` in [app.desk.channel]", "did you mean `subscribe`?", "1 mistake"]);
    check("[app.desk.identity]", "[app.desk.identiti]", &["oyez.toml:8:11: unknown key `identiti` in [app.desk]", "did you mean `identity`?"]);
    check("origins = ", "orgins = ", &["oyez.toml:2:1: unknown key `orgins` in [app.desk]", "did you mean `origins`?", "1 mistake"]);
    check("\"HS256\"", "\"HS265\"", &["oyez.toml:5:15: app.desk.auth.jwt.algorithms does not know `HS265`", "did you mean `HS256`?"]);
    check("[app.desk.auth.jwt]", "[app.desk.auth]\nfrom = \"header\"\n[app.desk.auth.jwt]", &["oyez.toml:5:8: a token cannot stand in `header`", "bearer"]);
    check("event = \"subscribe\"", "event = 7", &["oyez.toml:17:9: app.desk.on.event must be text", "for instance event = \"subscribe:site\""]);
}

#[test]
#[rustfmt::skip] // a row a line
fn expressions_point_at_the_character() {
    check("siteId in user.sites", "siteId in usr.sites", &["oyez.toml:14:24: `usr` is not known here", "did you mean `user`?"]);
    check("siteId in user.sites", "siteId in user.site", &["oyez.toml:14:", "there is no `site` here", "did you mean `sites`?"]);
    check("siteId in user.sites", "siteId == user.sites", &["oyez.toml:14:", "text never equals a list", "`x in list`"]);
    check("siteId in user.sites", "siteId in user.sites ||", &["oyez.toml:14:", "not a CEL expression"]);
    check("siteId in user.sites", "user.id", &["this gives text, but true or false is needed here"]);
    check("siteId in user.sites", "user.roles && true", &["one side is a list"]);
    check("siteId in user.sites", "data.x == 1", &["`data` is not known here"]);
    check("siteId in user.sites", "siteid in user.sites", &["oyez.toml:14:14: `siteid` is not known here", "did you mean `siteId`?"]);
    check("siteId in user.sites", "sitze(user.roles) > 1", &["there is no function `sitze`", "did you mean `size`?"]);
    check("site:{data.siteId}", "site:{dta.siteId}", &["oyez.toml:18:15: `dta` is not known here", "did you mean `data`?"]);
    check("site:{data.siteId}", "site:{data.siteId", &["oyez.toml:18:14: `{` without its `}`"]);
    check("{'siteId': data.siteId}", "{'siteId': joind}", &["oyez.toml:19:", "did you mean `joined`?"]);
    check("\"claims.sub\"", "\"claim.sub\"", &["oyez.toml:9:9: `claim` is not known here", "did you mean `claims`?"]);
    let long = format!("siteId == '{}'", "x".repeat(2048));
    check("siteId in user.sites", &long, &["an expression may have 2048 bytes"]);
}

#[test]
#[rustfmt::skip] // a row a line
fn what_other_languages_write_is_put_right() {
    for (written, remedy) in [
        ("siteId = '7'", "14:21: not a CEL expression: token recognition error at: '= '\n    help: write == to compare"),
        ("siteId === '7'", "write == to compare"),
        ("size(siteId) => 1", "write >= for `=>`"),
        ("user.admin and siteId == '7'", "14:25: not a CEL expression: mismatched input 'and'\n    help: write && for `and`"),
        ("user.admin OR siteId == '7'", "write || for `or`"),
        ("user.admin & siteId == '7'", "write && for `and`"),
        ("not user.admin", "write ! for `not`"),
        ("user.admin ||", "something is missing at its end"),
        ("user.admin siteId", "for instance 'admin' in user.roles"),
    ] {
        check("siteId in user.sites", written, &["oyez.toml:14:", remedy]);
    }
}

#[test]
#[rustfmt::skip] // a row a line
fn what_is_missing_is_named_with_its_remedy() {
    check("[app.desk.identity]", "[app.desk.recovery]\nwindow = \"2 minutes\"\n[[app.desk.channel]]\nname = \"news\"\nhistory = 1\n[app.desk.identity]", &["recovery.window must be a duration", "\n1 mistake"]);
    check("[app.desk.identity]", "[app.desk.channel]\nname = \"x\"\n[app.desk.identity]", &["duplicate key", "[[app.NAME.channel]]"]);
    check("secret = { env = \"JWT_SECRET\" }", "jwks = \"login.example.com/jwks\"", &["oyez.toml:6:8: `login.example.com/jwks` is no URL", "https://"]);
    check("origins = [\"https://desk.example.com\"]", "", &["oyez.toml:1:1: app.desk.origins is missing", "write, for instance, origins = "]);
    check("[\"https://desk.example.com\"]", "[]", &["app.desk.origins is empty"]);
    check("https://desk.example.com", "desk.example.com/", &["oyez.toml:2:12: `desk.example.com/` is no origin"]);
    check("secret = { env = \"JWT_SECRET\" }", "", &["app.desk.auth.jwt has no key"]);
    check("JWT_SECRET", "JWT_SECRETT", &["oyez.toml:6:10: app.desk.auth.jwt.secret comes from the environment variable JWT_SECRETT, which is not set", "export JWT_SECRETT=…"]);
    check("{ env = \"JWT_SECRET\" }", "{ file = \"jwt.key\" }", &["comes from the file jwt.key: no such file"]);
    check("{ env = \"JWT_SECRET\" }", "\"\"", &["app.desk.auth.jwt.secret is empty"]);
    check("[app.desk.auth.jwt]\nalgorithms = [\"HS256\"]\nsecret = { env = \"JWT_SECRET\" }", "[app.desk.auth]", &["app.desk.auth verifies nothing"]);
    check("\"HS256\"", "\"RS256\"", &["app.desk.auth.jwt.secret is for HS algorithms, and none is allowed"]);
    assert!(problems("").contains("app is missing\n    help: write, for instance, [app.NAME]"));
}

#[test]
#[rustfmt::skip] // a row a line
fn rules_that_cannot_work() {
    check("site:{siteId}\"", "site:{a}{b}\"", &["oyez.toml:13:8: two captures need some text between them"]);
    check("\"site:{data.siteId}\"", "\"sites:{data.siteId}\"", &["oyez.toml:18:8: no channel fits `sites:{data.siteId}`"]);
    check("[[app.desk.on]]", "[[app.desk.on]]\nevent = \"subscribe\"\n[[app.desk.on]]", &["the event `subscribe` has two rules"]);
    check("[[app.desk.on]]", "[[app.desk.channel]]\nname = \"site:{siteId}\"\n[[app.desk.on]]", &["described twice"]);
    check("[[app.desk.on]]", "[[app.desk.channel]]\nname = \"site:north:{id}\"\n[[app.desk.on]]", &["oyez.toml:16:1: no name ever gets to `site:north:{id}`: `site:{siteId}` fits all of them", "put it before line 12"]);
    check("[[app.desk.on]]", "[[app.desk.event]]\nname = \"a:*\"\nto = \"site:{id}\"\n[[app.desk.event]]\nname = \"a:b\"\n[[app.desk.event]]\nname = \"a:c\"\nto = \"site:x\"\n[[app.desk.on]]", &["oyez.toml:21:1: this rule for `a:c` never counts: that for `a:*` fits all of it", "put it before line 16", "1 mistake"]);
    check("[[app.desk.on]]", "[[app.desk.event]]\nname = \"a\"\n[[app.desk.event]]\nname = \"a\"\npriority = \"low\"\n[[app.desk.on]]", &["oyez.toml:18:1: the event `a` is described twice", "1 mistake"]);
    check("[app.desk.identity]", "[app.desk.recovery]\n[app.desk.identity]", &["oyez.toml:8:1: [app.desk.recovery] brings nothing back: no channel is remembered", "a `history` of which"]);
    check("[app.desk.identity]", "[app.desk.recovery]\neveryone = 0\n[app.desk.identity]", &["recovery.everyone is 0", "\n1 mistake"]);
    check("\"siteId in user.sites\"", "{ ask = \"backend\" }", &["`backend` is no URL"]);
    check("\"siteId in user.sites\"", "{ url = \"http://b\" }", &["unknown key `url`", "ask is missing"]);
    check("[app.desk.identity]", "[app.desk.heartbeat]\ntimeout = \"60 s\"\n[app.desk.identity]", &["app.desk.heartbeat.timeout must be a duration"]);
    check("[app.desk.identity]", "[app.desk.socketio]\npath = \"ws\"\nmax_payload = \"1 XB\"\n[app.desk.identity]", &["the path `ws` must begin and end with `/`", "max_payload must be a size"]);
    check("[app.desk]", "[server]\nlisten = \"here\"\n[app.desk]", &["oyez.toml:2:10: `here` is no address to listen on"]);
    check("[app.desk]", "[key.k]\nsecret = \"s\"\napps = \"dsk\"\n[app.desk]", &["there is no app `dsk`"]);
    check("[app.desk]", "[key.k]\nsecret = \"s\"\nchannels = [\"a\", \"site:*\"]\n[app.desk]", &["oyez.toml:3:18: a channel's name may not contain *", "\"site:{id}\""]);
    check("sites = \"claims", "roles = \"claims", &["`user.roles` is taken"]);
}

#[test]
#[rustfmt::skip] // a row a line
fn a_backend_is_told_something_where_it_may_be_and_signed_well() {
    let webhook = |more: &str, expect: &[&str]| {
        check("[app.desk.identity]", &format!("[app.desk.webhook]\n{more}\n[app.desk.identity]"), expect);
    };
    webhook("timeout = \"1s\"", &["app.desk.webhook.url is missing", "\n1 mistake"]);
    webhook("url = \"http://10.0.0.1:80/x\"", &["app.desk.webhook.url is no public address", "write private = true", "\n1 mistake"]);
    webhook("url = \"http://b\"\nsecret = \"short\"", &["app.desk.webhook.secret: a secret has at least 16 bytes", "\n1 mistake"]);
    webhook("url = \"http://b\"\nevents = []", &["app.desk.webhook.events is empty", "\n1 mistake"]);
    webhook("url = \"http://b\"\nevents = \"user.away\"", &["user.online", "\n1 mistake"]);
    webhook("url = \"http://b\"\nevents = \"user.online\"\nchannels = \"a\"", &["app.desk.webhook.channels says nothing", "\n1 mistake"]);
    let on = |more: &str, expect: &[&str]| {
        check("[app.desk.identity]", &format!("[[app.desk.on]]\nevent = \"m\"\n{more}\n[app.desk.identity]"), expect);
    };
    on("forward = { url = \"http://localhost/x\" }", &["app.desk.on.forward.url is no public address", "\n1 mistake"]);
    on("forward = { url = \"http://b\" }\nack = \"true\"", &["app.desk.on has both `ack` and `forward`", "\n1 mistake"]);
    check("[app.desk]", "[app.\"*desk\"]", &["`*desk` is no name for an app"]);
}

#[test]
fn what_says_nothing_of_durable_messages_is_a_mistake() {
    let inbox = |more: &str, expect: &[&str]| {
        check("[app.desk.identity]", &format!("[app.desk.inbox]\n{more}\n[app.desk.identity]"), expect);
    };
    inbox("ttl = \"0s\"", &["app.desk.inbox.ttl is 0", "\n1 mistake"]);
    inbox("unread_event = false", &["unread_event must be text", "\n1 mistake"]);
    inbox("[app.desk.inbox.webhook]\nurl = \"http://a/b\"\ntimeout = \"0s\"", &["webhook.timeout is 0", "\n1 mistake"]);
    inbox("[[app.desk.event]]\nname = \"a*b\"", &["oyez.toml:10:8: a `*` stands for any ending", "\n1 mistake"]);
    inbox("[[app.desk.event]]\nname = \"a*\"\nttl = \"0s\"", &["app.desk.event.ttl is 0", "\n1 mistake"]);
    let on = |more: &str, expect: &[&str]| {
        check("[app.desk.identity]", &format!("[[app.desk.on]]\nevent = \"m\"\n{more}\n[app.desk.identity]"), expect);
    };
    on("mark = { ids = \"data\" }", &["app.desk.on.mark is for durable messages", "write [app.desk.inbox]"]);
    on("since = \"data\"", &["app.desk.on.since is for clients that come back", "write [app.desk.recovery]"]);
    check(
        "[app.desk.identity]",
        "[app.desk.recovery]\n[[app.desk.channel]]\nname = \"news\"\nhistory = 1\n[[app.desk.on]]\nevent = \"m\"\nsince = \"data\"\n[app.desk.identity]",
        &["app.desk.on.since says nothing without `join`", "\n1 mistake"],
    );
    check(
        "[app.desk]",
        "[server]\ndata_dir = \"/var/lib/oyez\"\n[app.desk]",
        &["unknown key `data_dir` in [server]", "oyez serve --data-dir DIR"],
    );
}

#[test]
#[rustfmt::skip] // a row a line
fn limits_are_numbers_within_their_bounds_or_none() {
    let limit = |line: &str| problems(&GOOD.replacen("[app.desk.identity]", &format!("[app.desk.limits]\n{line}\n[app.desk.identity]"), 1));
    for key in ["connections", "connections_per_address", "connects_per_second", "connections_per_user", "channels_per_session", "events_per_second", "app_events_per_second", "publishes_per_second"] {
        assert_eq!(limit(&format!("{key} = \"none\"")), "");
        assert_eq!(limit(&format!("{key} = 1")), "");
        let said = limit(&format!("{key} = 0"));
        assert!(said.contains(&format!("app.desk.limits.{key} is 0, and must be 1 to 10,000,000")), "{said}");
        assert!(said.contains("write 1 to 10,000,000, or \"none\" for no limit"), "{said}");
        assert!(limit(&format!("{key} = \"non\"")).contains(&format!("app.desk.limits.{key} must be a number")));
        assert!(limit(&format!("{key} = -1")).contains("must be a number"));
        assert!(limit(&format!("{key} = 1.5")).contains("must be a number"));
    }
    for (key, most) in [("channel_length", "200"), ("json_depth", "126"), ("events_burst", "10,000,000")] {
        let said = limit(&format!("{key} = 0"));
        assert!(said.contains(&format!("{key} is 0, and must be 1 to {most}")) && !said.contains("none"), "{said}");
        assert!(limit(&format!("{key} = \"none\"")).contains("must be a number"));
        assert!(limit(&format!("{key} = 10_000_001")).contains(&format!("must be 1 to {most}")));
    }
    assert!(limit("outbox = 0").contains("outbox is 0, and must be 1,024 to 1,073,741,824"));
    assert!(limit("channel_characters = \"asci\"").contains("did you mean `ascii`?"));
    assert!(limit("when_user_full = \"refuse\"").contains("when_user_full does not know `refuse`"));
    assert!(limit("event_per_second = 3").contains("did you mean `events_per_second`?"));
    check("[app.desk.identity]", "[app.desk.socketio]\nmax_payload = 0\nmax_attachments = 0\n[app.desk.identity]", &["max_payload is 0, and must be 128 to", "max_attachments is 0, and must be 1 to 1,000"]);
    check("[app.desk]", "[server]\nshards = 0\nconnections = 0\n[app.desk]", &["server.shards is 0, and must be 1 to 255", "server.connections is 0"]);
}

#[test]
fn what_slow_clients_are_spared() {
    let with = |line: &str| {
        let rule = format!("subscribe = \"siteId in user.sites\"\n{line}");
        problems(&GOOD.replacen("subscribe = \"siteId in user.sites\"", &rule, 1))
    };
    assert_eq!(with("when_slow = \"conflate\"\nconflate_by = \"data.vehicle\""), "");
    assert_eq!(with("when_slow = \"conflate\""), "");
    assert_eq!(with("when_slow = \"disconnect\""), "");
    assert!(with("when_slow = \"drop_oldes\"").contains("did you mean `drop_oldest`?"));
    assert!(with("conflate_by = \"data.vehicle\"").contains("conflate_by says nothing without `when_slow`"));
    assert!(with("when_slow = \"conflate\"\nconflate_by = \"dat.vehicle\"").contains("did you mean `data`?"));
}

#[test]
fn origins_that_never_match_or_allow_too_much() {
    let origin = "[\"https://desk.example.com\"]";
    check(
        origin,
        "\"HTTPS://Desk.example.com:443/\"",
        &["oyez.toml:2:11: no browser writes the origin", "write \"https://desk.example.com\""],
    );
    check(origin, "\"https://münchen.example\"", &["no browser writes the origin", "xn--"]);
    check(origin, "\"https://*.example.com\"", &["`https://*.example.com` is no origin", "scheme, host and port"]);
    check(origin, "\"null\"", &["`null` is no origin"]);
    check(
        origin,
        "[\"*\", \"https://desk.example.com\"]",
        &["oyez.toml:2:12: `*` is any page", "keep `*`, or the list"],
    );
    let cookie = GOOD.replace(
        "[app.desk.auth.jwt]",
        "[app.desk.auth]\nfrom = [\"auth.token\", \"cookie.sid\"]\n[app.desk.auth.jwt]",
    );
    assert_eq!(problems(&cookie), "");
    let said = problems(&cookie.replace(origin, "\"*\""));
    assert!(
        said.contains("oyez.toml:2:11: app.desk.origins is `*`, and a token may stand in the cookie `sid`"),
        "{said}"
    );
    assert!(said.contains("take \"cookie.sid\" out of `from` of [app.desk.auth]"), "{said}");
}

#[test]
fn a_websocket_to_which_nobody_could_show_a_token() {
    let with = |from: &str| {
        problems(&GOOD.replace("[app.desk.auth.jwt]", &format!("[app.desk.websocket]\n{from}\n[app.desk.auth.jwt]")))
    };
    for from in ["", "[app.desk.auth]\nfrom = [\"auth.token\", \"auth.jwt\"]"] {
        let said = with(from);
        assert!(said.contains("oyez.toml:4:1: a plain WebSocket has no `auth`"), "{said}");
        assert!(said.contains("add a place to [app.desk.auth]: from = [\"auth.token\", \"query.token\"]"), "{said}");
    }
    for place in ["query.token", "bearer", "subprotocol", "cookie.sid"] {
        assert_eq!(with(&format!("[app.desk.auth]\nfrom = [\"auth.token\", \"{place}\"]")), "");
    }
}

#[test]
fn a_secret_that_can_be_found_by_trying_is_for_development_only() {
    let with = |algorithms: &str, bytes: usize, dev: bool| {
        let source = GOOD
            .replace("[\"HS256\"]", algorithms)
            .replace("{ env = \"JWT_SECRET\" }", &format!("\"{}\"", &"0123456789abcdef".repeat(4)[..bytes]));
        let inputs = Inputs { env: &|_| None, file: &|_| Err(String::new()), dev };
        load("oyez.toml", &source, inputs).err().map(|problems| problems.to_string()).unwrap_or_default()
    };
    for (algorithms, least) in
        [("[\"HS256\"]", 32), ("[\"HS384\"]", 48), ("[\"HS512\"]", 64), ("[\"HS512\", \"RS256\", \"HS256\"]", 32)]
    {
        assert_eq!(with(algorithms, least, false), "");
        assert_eq!(with(algorithms, 1, true), "");
        let said = with(algorithms, least - 1, false);
        let place = format!("oyez.toml:6:10: app.desk.auth.jwt.secret has {} bytes", least - 1);
        assert!(said.contains(&place) && said.contains("openssl rand -hex 32"), "{said}");
        assert!(!said.contains("0123"), "{said}");
    }
}

#[test]
fn a_secret_that_anybody_could_guess_is_for_development_only() {
    let with = |secret: &str, dev: bool| {
        let source = GOOD.replace("{ env = \"JWT_SECRET\" }", &format!("\"{secret}\""));
        let source = source + &format!("[app.desk.auth.authjs]\nsecret = \"{secret}\"\n");
        let inputs = Inputs { env: &|_| None, file: &|_| Err(String::new()), dev };
        load("oyez.toml", &source, inputs).err().map(|problems| problems.to_string()).unwrap_or_default()
    };
    for (secret, why) in [
        ("q".repeat(64).as_str(), "consists of 1 different characters only"),
        (&"1234567".repeat(5), "consists of 7 different characters only"),
    ] {
        let said = with(secret, false);
        assert!(said.contains(&format!("oyez.toml:6:10: app.desk.auth.jwt.secret {why}")), "{said}");
        assert!(said.contains(&format!("app.desk.auth.authjs.secret {why}")), "{said}");
        assert!(said.contains("whoever signs: openssl rand -hex 32") && !said.contains(secret), "{said}");
        assert_eq!(with(secret, true), "");
    }
    assert_eq!(with("0123456789abcdef0123456789abcdef", false), "");
}

#[test]
fn everyone_is_no_channel() {
    for (name, why) in
        [("*", "may not contain *"), ("a{b", "without its `}`"), ("a}b", "without its `{`"), ("{}", "use a word")]
    {
        check("name = \"site:{siteId}\"", &format!("name = \"{name}\""), &["oyez.toml:13:8: ", why, "    help: "]);
    }
    check("name = \"site:{siteId}\"", "name = \"\"", &["oyez.toml:13:8: a channel needs a name"]);
    let help =
        "everyone hears what is published to \"*\", which needs no description; for every other name write \"{room}\"";
    check("name = \"site:{siteId}\"", "name = \"*\"", &[help]);
}

#[test]
fn what_a_channel_says_of_others_is_checked() {
    let with = |line: &str| {
        let rule = format!("subscribe = \"siteId in user.sites\"\n{line}");
        problems(&GOOD.replacen("subscribe = \"siteId in user.sites\"", &rule, 1))
    };
    assert_eq!(with("audience = \"site:{data.siteId}\""), "");
    assert!(with("audience = \"sites:{data.siteId}\"").contains("oyez.toml:15:12: no channel fits"));
    assert!(with("echo = \"platform\"").contains("oyez.toml:15:8: no channel fits `platform`"));
    assert!(with("echo = \"site:{x}\"").contains("not a pattern"));
    let own = GOOD.replace(
        "subscribe = \"siteId in user.sites\"",
        "subscribe = \"siteId == user.id\"\naudience = \"site:{data.siteId}\"",
    );
    assert!(problems(&own).contains("depends on more than rights"));
}

#[test]
fn every_mistake_is_told_at_once_in_the_order_of_the_file() {
    let source = GOOD
        .replace("origins", "orgins")
        .replace("HS256", "none")
        .replace("user.sites", "usr.sites")
        .replace("'siteId': data", "'siteId': dat");
    let Err(Problems(all)) = load_with_env(&source) else { panic!("it is wrong") };
    assert_eq!(all.iter().map(|problem| problem.line).collect::<Vec<_>>(), [2, 5, 14, 19], "{all:#?}");
}

#[test]
fn broken_toml_is_told_as_such() {
    let said = problems("[app.desk\norigins = [\n");
    assert!(said.contains("oyez.toml:1:") && said.contains("not TOML"), "{said}");
    assert!(!said.contains("is missing"), "{said}");
}

#[test]
fn without_its_variables_an_example_names_each() {
    for (name, source) in FILES {
        let Err(problems) =
            load("oyez.toml", source, Inputs { env: &|_| None, file: &|_| Err(String::new()), dev: false })
        else {
            panic!("{name}")
        };
        let said = problems.to_string();
        let secret = if *name == "erp" { "AUTH_SECRET" } else { "JWT_SECRET" };
        assert!(said.contains(secret) && said.contains("OYEZ_API_KEY") && said.contains("2 mistakes"), "{said}");
    }
}

#[test]
fn an_embedded_app_has_the_limits_of_a_file_without_any() {
    let config = load_with_env(GOOD).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.apps[0].limits.app, AppLimits::default());
    assert_eq!(config.apps[0].limits.outbox, crate::settings::OUTBOX_BYTES);
    assert_eq!(config.server.patience, crate::settings::Patience::default());
}

#[test]
fn a_weak_key_is_good_for_dev_only() {
    let text = GOOD.replace("[app.desk]\n", "[key.k]\nsecret = [\"short\", { env = \"JWT_SECRET\" }]\n[app.desk]\n");
    let said = problems(&text);
    for part in ["oyez.toml:2:10: key.k.secret has 5 bytes", "openssl rand -hex 32", "1 mistake"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("short"), "the key itself stays unsaid: {said}");
    let env = |_: &str| Some("a-secret-for-tests-0123456789abcdef".to_owned());
    let dev = Inputs { env: &env, file: &|_| Err(String::new()), dev: true };
    assert_eq!(load("oyez.toml", &text, dev).map(|config| config.keys.len()).ok(), Some(1));
}

#[test]
fn any_cut_of_an_example_is_answered_without_panic() {
    for (_, source) in FILES {
        for end in (0..source.len()).step_by(97).filter(|end| source.is_char_boundary(*end)) {
            let _ = load_with_env(&source[..end]);
        }
    }
}

/// A file with a source; the variable of its URL is not set.
const SOURCE: &str = r#"
[app.desk.source.events]
kind = "rabbitmq"
url = { env = "RABBITMQ_URL" }
exchange = "events"
from = ["quota.#"]
[[app.desk.source.events.rule]]
match = "quota.{what}"
when = "data.percent > 90"
to = "site:{data.siteId}"
event = "{address}"
"#;

#[test]
#[rustfmt::skip] // a row a line
fn sources() {
    let good = format!("{GOOD}{SOURCE}");
    let config = load_with_env(&good).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.apps[0].sources[0].door, None, "it is off");
    assert_eq!(config.apps[0].sources[0].rules.rules.len(), 1);
    #[track_caller]
    fn check(from: &str, to: &str, expect: &[&str]) {
        assert!(SOURCE.contains(from), "{from}");
        let said = problems(&format!("{GOOD}{}", SOURCE.replacen(from, to, 1)));
        for part in expect {
            assert!(said.contains(part), "{from} -> {to}\nexpected: {part}\nsaid:\n{said}");
        }
    }
    check("\"rabbitmq\"", "\"rabbit\"", &["app.desk.source.events.kind does not know `rabbit`"]);
    check("exchange = \"events\"\n", "", &["app.desk.source.events.exchange is missing"]);
    check("[\"quota.#\"]", "[]", &["app.desk.source.events.from is empty"]);
    check("\"rabbitmq\"", "\"nats-jetstream\"", &["app.desk.source.events.stream is missing"]);
    check("\"rabbitmq\"", "\"nats-jetstream\"\nstream = \"a.b\"", &["events.stream is no name that JetStream can have"]);
    check("\"rabbitmq\"", "\"nats-jetstream\"\nstream = \"A\"\ngroup = \"\"", &["events.group is no name that JetStream can have"]);
    check("\"rabbitmq\"", "\"nats\"\ngroup = \"a b\"", &["events.group is no name of a queue group"]);
    check("\"rabbitmq\"\nurl = { env = \"RABBITMQ_URL\" }\nexchange = \"events\"\nfrom = [\"quota.#\"]", "\"nats\"\nurl = \"nats://a\"\nfrom = [\"a..b\"]", &["events.from has what is no subject"]);
    check("quota.{what}", "quota.{data}", &["`data` is taken"]);
    check("quota.{what}", "quota.{what", &["`{` without its `}`"]);
    check("data.percent > 90", "percent > 90", &["percent"]);
    check("data.percent > 90", "'text'", &["true or false is needed"]);
    check("site:{data.siteId}", "user:{data.userId}", &["no channel fits `user:{data.userId}`"]);
    check("{address}", "{adress}", &["did you mean"]);
    check("event = \"{address}\"", "event = \"e\"\ndelivery = \"durable\"", &["needs an app with [app.desk.inbox]"]);
    check("{ env = \"RABBITMQ_URL\" }", "{ file = \"nowhere\" }", &["app.desk.source.events.url comes from the file nowhere"]);
}
