//! The rows about sources: where messages come from by themselves.

use super::Kind::{Choice, Condition, Count, Duration, Expression, Secrets, Tables, Templates, Text, Texts};
use super::{ANY, Section, may, need, or, within};

#[rustfmt::skip]
pub(super) static SOURCE: Section = Section {
    path: "app.NAME.source",
    doc: "Messages that a broker brings are published by rules, and acknowledged to it only when they are taken: stored, if they are durable. What can never be published goes to the dead letters. A source that cannot be reached is tried again; nothing waits for it. See [sources.md](sources.md).",
    keys: &[
        need("kind", Choice(&["rabbitmq", "redis", "redis-streams", "redis-blacklist", "nats", "nats-jetstream", "consul", "webhook"]), r#""rabbitmq""#, "what it is: queues of RabbitMQ; channels of Redis, its streams, or keys of it that name tokens which are no longer accepted; subjects of NATS, or a stream of its JetStream; the health of the services of a Consul; or what is posted to `/api/v1/source/NAME`"),
        may("url", Secrets, r#"{ env = "RABBITMQ_URL" }"#, "where it is, with the credentials: `amqp://user:password@host:5672/vhost`, or `amqps://`; `redis://user:password@host:6379`, or `rediss://`; `nats://user:password@host:4222`, or `tls://`, of several servers with commas between them; `http://host:8500`, or `https://`. The source is off while the environment variable is not set. A webhook has none"),
        may("secret", Secrets, r#"{ env = "SHOP_WEBHOOK_SECRET" }"#, "webhook: what messages are signed with, as standardwebhooks.com has it; in a list, all are believed. None while the environment variable is not set; backends with an API key need none"),
        may("from", Texts, r##"["quota.#", "device.*"]"##, "what is read: with RabbitMQ the routing keys to which the queue is bound, with `*` for one word and `#` for any; with Redis the channels, or patterns such as `room:*`; with its streams their names; with a blacklist what its keys begin with, as in `token:blacklist:`; with NATS the subjects, or patterns such as `orders.*` and `orders.>`, with JetStream those of the stream that are wanted, `>` for all; with Consul the names of services, `*` for all; a webhook has none"),
        may("token", Secrets, r#"{ env = "CONSUL_HTTP_TOKEN" }"#, "Consul: what it knows us by; none while the environment variable is not set"),
        or("wait", Duration, r#""5m""#, "Consul: how long one of its blocking queries waits for something to change, at most `10m`"),
        may("ca", Secrets, r#"{ file = "ca.pem" }"#, "PEM: whose certificates are believed with `amqps://`, `rediss://`, `tls://` and `https://`; without it, whom the system believes"),
        may("exchange", Text, r#""cloudphone.events""#, "RabbitMQ: the topic exchange, which must be there"),
        may("queue", Text, r#""oyez.cloudphone.events""#, "RabbitMQ: the queue, which is made, durable, and this app's alone; `oyez.APP.SOURCE` without it"),
        or("queue_type", Choice(&["quorum", "classic"]), r#""quorum""#, "RabbitMQ: `quorum` outlives the loss of a broker's node, and gives up on messages after 20 deliveries that nobody finished"),
        may("group", Text, r#""oyez.plant.orders""#, "Redis streams: the consumer group, which is made; `oyez.APP.SOURCE` without it. The dead letters go to the stream `GROUP.dead`. NATS: the queue group, of which one server hears each message; `\"\"`, and each hears all. JetStream: the durable consumer, which is made; `oyez-APP-SOURCE` without it"),
        may("stream", Text, r#""ORDERS""#, "JetStream: the stream, which must be there"),
        may("field", Text, r#""data""#, "Redis streams: the field of an entry that is the body, in JSON; the others are `headers`. Without it the body is an object of all fields, each a text"),
        or("begin", Choice(&["oldest", "newest"]), r#""oldest""#, "Redis streams, JetStream: where a group begins that is made on a stream with entries: with the oldest of them, or after the newest"),
        or("claim_after", Duration, r#""1m""#, "Redis streams, JetStream: when nothing was heard of a server for so long, another takes over what it had not finished"),
        or("prefetch", Count(within(1, 65_535)), "256", "messages that are under way at once"),
        may("data", Expression, r#""first(body.payload, body)""#, "where in the body the data is, from `body`, `address` and `headers`; without it, the body is"),
        or("drop", Texts, "[]", "fields that nobody gets to see, of the body and of the data: what traces carry, secrets"),
        or("attempts", Count(within(1, 100)), "5", "how often a message is tried that is refused for its own sake, such as for want of room in an inbox; while nothing at all can be stored it waits, however long"),
        or("events_per_second", ANY, r#""none""#, "publications to one channel, such as a user's, per second and at once"),
        or("when_over", Choice(&["drop_newest", "defer"]), r#""drop_newest""#, "when there is one more: drop it, unless it is durable; or have it wait, and the source with it"),
        may("rule", Tables(&RULE), "", "what becomes of messages: each rule that fits publishes; a blacklist has none"),
    ],
};

#[rustfmt::skip]
static RULE: Section = Section {
    path: "app.NAME.source.NAME.rule",
    doc: "One publication of each message that fits. Known: `address` (the routing key, the channel), the captures of `match`, `data`, `body`, `headers`, `message_id`, `sent` (in milliseconds), and the times. A message that no rule fits, or whose data names nobody in `to`, is acknowledged and counted.",
    keys: &[
        need("match", Texts, r#""quota.{what}""#, "by which addresses; captures match as in the names of channels"),
        may("when", Condition, r#""data.usagePercent >= 95""#, "only when this holds; data that lacks what it asks for does not fit"),
        need("to", Templates, r#""user:{data.userId}""#, "channels; `*` is everybody"),
        need("event", Text, r#""notification""#, "the event's name; may hold `{expressions}`"),
        may("data", Expression, r#""{'type': address, 'data': data}""#, "the payload; the data without it. [[app.NAME.push]] shapes it further"),
        may("id", Expression, r#""body.eventId""#, "the publication's id: what is durable and has the same id is taken for the same, for 24 hours, so two rules need two"),
        may("delivery", Choice(&["live", "recoverable", "durable"]), r#""durable""#, "what is promised; without it, what [[app.NAME.event]] says"),
        may("priority", Choice(&["urgent", "high", "normal", "low"]), r#""urgent""#, "its lane; without it, by the message's own priority: from 9 on `urgent`, from 6 on `high`"),
        may("ttl", Duration, r#""7d""#, "how long a durable one is kept"),
    ],
};
