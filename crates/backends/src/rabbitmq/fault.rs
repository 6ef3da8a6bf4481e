//! What is wrong with a connection to RabbitMQ, and what to do about it.

use std::borrow::Cow;

use lapin::uri::AMQPUri;
use lapin::{Error, ErrorKind};
use oyez_hub::source::Trouble;

use super::source::Options;
use crate::supervise::{BELIEVE, Fault, unbelieved};

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Connect,
    Exchange,
    DeadExchange,
    DeadLetters,
    Queue,
    Read,
}

/// What the client library says.
pub(super) fn fault(error: &Error, step: Step, options: &Options) -> Fault {
    let trouble = match error.kind() {
        ErrorKind::ProtocolError(error) => {
            return answered(error.get_id(), error.get_message().to_string(), step, options);
        }
        _ if unbelieved(&error.to_string()) => Trouble::Credentials,
        _ if step == Step::Connect => Trouble::Unreachable,
        _ => Trouble::Lost,
    };
    let said = error.to_string();
    let help = if unbelieved(&said) { BELIEVE.to_owned() } else { help(trouble, step, options) };
    Fault { trouble, said, help }
}

/// What the broker answers.
fn answered(code: u16, said: String, step: Step, options: &Options) -> Fault {
    let trouble = by_code(code, &said, step);
    let help = match code {
        _ if unbelieved(&said) => BELIEVE.to_owned(),
        406 if is_limit(&said) => limits(options),
        405 => "it belongs to another connection: give `queue` another name, or end who holds it".to_owned(),
        _ => help(trouble, step, options),
    };
    Fault { trouble, said, help }
}

/// The broker took too long.
pub(super) fn silence(step: Step, options: &Options) -> Fault {
    let trouble = if step == Step::Connect { Trouble::Unreachable } else { Trouble::Lost };
    Fault { trouble, said: "no answer in time".to_owned(), help: help(trouble, step, options) }
}

/// The broker took the queue away.
pub(super) fn cancelled(options: &Options) -> Fault {
    let (trouble, said) = (Trouble::Missing, format!("the queue {} was deleted", options.queue));
    Fault { trouble, said, help: "it is made again".to_owned() }
}

/// What the file says cannot be.
pub(super) fn unfit(said: impl Into<String>) -> Fault {
    let help = "as in amqp://user:password@host:5672/vhost, and names of at most 255 bytes".to_owned();
    Fault { trouble: Trouble::Other, said: said.into(), help }
}

/// The reply codes of AMQP, and what was said with those that stand for several things.
fn by_code(code: u16, said: &str, step: Step) -> Trouble {
    match code {
        403 if step == Step::Connect => Trouble::Credentials,
        403 => Trouble::Forbidden,
        // The virtual host is full, or not up, which no rights would mend.
        530 if step == Step::Connect && [" limit ", " is down"].iter().any(|why| said.contains(why)) => Trouble::Other,
        530 if step == Step::Connect && said.contains(" refused for user ") => Trouble::Forbidden,
        530 if step == Step::Connect => Trouble::Missing,
        404 => Trouble::Missing,
        // Messages were under way for longer than the broker allows.
        406 if step == Step::Read => Trouble::Lost,
        406 if is_limit(said) => Trouble::Other,
        405 | 406 => Trouble::Conflict,
        320 => Trouble::Lost,
        _ => Trouble::Other,
    }
}

/// Whether it is about how many there may be: of queues, by the virtual host or the cluster.
fn is_limit(said: &str) -> bool {
    said.contains(" limit ") && said.contains(" is reached")
}

fn help(trouble: Trouble, step: Step, options: &Options) -> String {
    let Options { exchange, queue, .. } = options;
    let vhost = quoted(&options.uri.vhost);
    let user = &options.uri.authority.userinfo.username;
    match (trouble, step) {
        (Trouble::Missing | Trouble::Forbidden, Step::Connect) if options.uri.vhost.is_empty() => {
            "`url` ends in a slash, which names a virtual host without a name: drop the slash, or write /%2F, for the one called /".to_owned()
        }
        (Trouble::Unreachable, _) => format!("is RabbitMQ running at {}?", place(&options.uri)),
        (Trouble::Lost, _) => "it is connected again by itself".to_owned(),
        (Trouble::Credentials, _) => format!("correct the user `{user}` or the password in `url`"),
        (Trouble::Forbidden, _) => format!(
            "see what the user has, as this replaces it: rabbitmqctl list_user_permissions {}; and join that by | to {}",
            quoted(user),
            permissions(options)
        ),
        (Trouble::Missing, Step::Connect) => {
            format!("rabbitmqctl add_vhost {vhost} && {}; or correct `url`", permissions(options))
        }
        (Trouble::Missing, Step::Exchange) => {
            format!(
                "start who publishes to the exchange `{exchange}`, or make it: rabbitmqadmin -V {vhost} declare exchange {} type=topic durable=true; or correct `exchange`; it is not made here",
                quoted(&format!("name={exchange}"))
            )
        }
        (Trouble::Conflict, Step::DeadExchange) => format!(
            "the exchange `{queue}.dead` is there with other settings: give `queue` another name, or delete it: rabbitmqadmin -V {vhost} delete exchange {}",
            quoted(&format!("name={queue}.dead"))
        ),
        (Trouble::Conflict, Step::DeadLetters) => instead(&format!("{queue}.dead"), options),
        (Trouble::Conflict, _) => instead(queue, options),
        _ => "see the log of RabbitMQ".to_owned(),
    }
}

/// What lets the user do here what is done here, and no more.
fn permissions(Options { uri, exchange, queue, .. }: &Options) -> String {
    let (vhost, user) = (quoted(&uri.vhost), quoted(&uri.authority.userinfo.username));
    let (queue, exchange) = (literal(queue), literal(exchange));
    let own = in_quotes(&format!("^{queue}"));
    let read = in_quotes(&format!("^({queue}.*|{exchange})$"));
    format!("rabbitmqctl set_permissions -p {vhost} {user} {own} {own} {read}")
}

/// What makes room for a queue. `--if-empty` would not: RabbitMQ refuses it for quorum queues, and ends with 0.
fn instead(queue: &str, options: &Options) -> String {
    let (vhost, name) = (quoted(&options.uri.vhost), quoted(queue));
    format!(
        "the queue `{queue}` is there with other settings: give `queue` another name, or see that it has 0 messages: rabbitmqctl list_queues -p {vhost} name messages, and delete it: rabbitmqctl delete_queue -p {vhost} {name}"
    )
}

/// What makes room where there are as many queues as there may be. Two are wanted: the other is for the dead letters.
fn limits(options: &Options) -> String {
    let vhost = quoted(&options.uri.vhost);
    format!(
        "delete queues that nobody needs, or raise the limit: rabbitmqctl set_vhost_limits -p {vhost} '{{\"max-queues\": MORE}}', which replaces all that this lists: rabbitmqctl list_vhost_limits -p {vhost}"
    )
}

/// A name as a word of a shell.
fn quoted(name: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._/:@%+-=".contains(&byte);
    if !name.is_empty() && name.bytes().all(plain) { name.into() } else { in_quotes(name).into() }
}

fn in_quotes(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A name as a part of a pattern. A dot stays as it is, for the reader's sake: it also stands for itself.
fn literal(name: &str) -> String {
    let special = |char: &char| r"\^$|?*+()[]{}".contains(*char);
    name.chars().flat_map(|char| special(&char).then_some('\\').into_iter().chain([char])).collect()
}

/// Where it is, without the credentials.
pub(super) fn place(uri: &AMQPUri) -> String {
    format!("{}:{}, vhost {}", uri.authority.host, uri.authority.port, uri.vhost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_530_means_is_in_the_words() {
        for (said, trouble) in [
            ("NOT_ALLOWED - vhost desk not found", Trouble::Missing),
            ("NOT_ALLOWED - access to vhost 'desk' refused for user 'shop'", Trouble::Forbidden),
            (
                "NOT_ALLOWED - access to vhost 'desk' refused for user 'shop': connection limit (1) is reached",
                Trouble::Other,
            ),
            ("NOT_ALLOWED - connection refused for user 'shop': user connection limit (1) is reached", Trouble::Other),
            ("NOT_ALLOWED - access to vhost 'desk' refused for user 'shop': vhost 'desk' is down", Trouble::Other),
        ] {
            assert_eq!(by_code(530, said, Step::Connect), trouble, "{said}");
        }
    }

    #[test]
    fn what_is_in_the_way_goes_by_commands_that_every_kind_of_queue_knows() {
        let options = Options::new("amqp://shop:hidden@mq/desk", "events", &[], "oyez.desk.events").expect("a URL");
        for (step, command) in [
            (Step::Queue, "rabbitmqctl delete_queue -p desk oyez.desk.events"),
            (Step::DeadLetters, "rabbitmqctl delete_queue -p desk oyez.desk.events.dead"),
            (Step::DeadExchange, "rabbitmqadmin -V desk delete exchange name=oyez.desk.events.dead"),
        ] {
            let help = help(Trouble::Conflict, step, &options);
            assert!(help.ends_with(command), "{help}");
        }
    }

    #[track_caller]
    fn check(url: &str, queue: &str, (code, said): (u16, &str), step: Step, expect: (Trouble, &str)) {
        let options = Options::new(url, "events", &[], queue).expect("a URL");
        let Fault { trouble, help, .. } = answered(code, said.to_owned(), step, &options);
        assert_eq!((trouble, help.as_str()), expect, "{said}");
    }

    #[test]
    fn rights_that_are_there_already_are_seen_first() {
        let said = (403, "ACCESS_REFUSED - read access to exchange 'events' in vhost '/' refused for user 'shop'");
        let help = "see what the user has, as this replaces it: rabbitmqctl list_user_permissions shop; and join that by | to \
                    rabbitmqctl set_permissions -p / shop '^desk' '^desk' '^(desk.*|events)$'";
        check("amqp://shop:hidden@mq", "desk", said, Step::Queue, (Trouble::Forbidden, help));
    }

    #[test]
    fn too_many_queues_are_no_conflict() {
        let help = "delete queues that nobody needs, or raise the limit: rabbitmqctl set_vhost_limits -p desk \
                    '{\"max-queues\": MORE}', which replaces all that this lists: rabbitmqctl list_vhost_limits -p desk";
        let said = "PRECONDITION_FAILED - cannot declare queue 'events': queue limit in vhost 'desk' (1) is reached";
        check("amqp://mq/desk", "events", (406, said), Step::Queue, (Trouble::Other, help));
        let said = "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'events' in vhost 'desk'";
        let help = "it belongs to another connection: give `queue` another name, or end who holds it";
        check("amqp://mq/desk", "events", (405, said), Step::Queue, (Trouble::Conflict, help));
    }

    #[test]
    fn a_virtual_host_without_a_name_is_a_slash_too_many() {
        let help = "`url` ends in a slash, which names a virtual host without a name: drop the slash, or write /%2F, for the \
                    one called /";
        let said = (530, "NOT_ALLOWED - vhost  not found");
        check("amqp://shop:hidden@mq:5672/", "events", said, Step::Connect, (Trouble::Missing, help));
    }

    #[test]
    fn commands_are_for_a_shell() {
        for (name, expect) in [
            ("desk/shop_1@x:%2F+-", "desk/shop_1@x:%2F+-"),
            ("", "''"),
            ("two words", "'two words'"),
            ("$(it's)", r"'$(it'\''s)'"),
            ("\u{5de5}", "'\u{5de5}'"),
        ] {
            assert_eq!(quoted(name), expect);
        }
        let help = "rabbitmqctl add_vhost 'cloud phone' && rabbitmqctl set_permissions -p 'cloud phone' 'a b' \
                    '^x(1)' '^x(1)' '^(x(1).*|events)$'; or correct `url`";
        let help = help.replace("x(1)", r"x\(1\)");
        let said = (530, "NOT_ALLOWED - vhost cloud phone not found");
        check("amqp://a%20b:p@mq/cloud%20phone", "x(1)", said, Step::Connect, (Trouble::Missing, &help));
    }
}
