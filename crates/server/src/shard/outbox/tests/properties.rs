//! Whatever is said in whatever order, and however a client reads: the rules of [`order`](super::super::order) hold.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::order::MOST_AHEAD;
use super::*;

/// One thing that happens to an outbox.
#[derive(Debug, Clone)]
enum Act {
    Push(Standing, WhenSlow, usize),
    Write(usize),
    Poll(usize),
}

/// A budget that some of these acts exceed.
const BUDGET: usize = 400;

/// No packet is larger.
const LARGEST: usize = 64;

fn lanes() -> impl Strategy<Value = Priority> {
    prop::sample::select(&Priority::ALL[..])
}

fn standings() -> impl Strategy<Value = Standing> {
    prop_oneof![
        1 => Just(Standing::Vital),
        2 => Just(Standing::Answer),
        1 => Just(Standing::Barrier),
        12 => lanes().prop_map(Standing::Lane),
        6 => lanes().prop_map(Standing::Placed),
    ]
}

fn acts(keyed: bool) -> impl Strategy<Value = Vec<Act>> {
    let keys = || prop::sample::select(vec!["a", "b", "c"]).prop_map(Arc::from);
    let unkeyed = prop_oneof![Just(WhenSlow::DropOldest), Just(WhenSlow::Disconnect)].boxed();
    let fate = if keyed {
        prop_oneof![unkeyed, keys().prop_map(WhenSlow::Conflate), keys().prop_map(WhenSlow::ConflateOrDisconnect)]
            .boxed()
    } else {
        unkeyed
    };
    let push =
        (standings(), fate, 0..40_usize).prop_map(|(standing, fate, filling)| Act::Push(standing, fate, filling));
    let act = prop_oneof![8 => push, 2 => (0..120_usize).prop_map(Act::Write), 1 => (1..3_usize).prop_map(Act::Poll)];
    vec(act, 0..120)
}

/// One that came.
struct Guest {
    standing: Standing,
    fate: WhenSlow,
}

/// An outbox, and what it has seen. Packets are known by their numbers.
#[derive(Default)]
struct Scene {
    outbox: Outbox,
    came: Vec<Guest>,
    /// In the order in which their writing began.
    left: Vec<usize>,
    dropped: BTreeMap<usize, Dropped>,
    /// So many in a row have overtaken the oldest.
    ahead: u8,
}

fn number(parcel: &Parcel) -> usize {
    let digits: String = text(parcel).chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

impl Scene {
    fn push(&mut self, standing: Standing, fate: WhenSlow, filling: usize) {
        let text = format!("{:03} {}", self.came.len(), "x".repeat(filling));
        let (parcel, fate) = match standing {
            Standing::Lane(lane) => (published(&text, lane, false, fate.clone()), fate),
            Standing::Placed(lane) => (published(&text, lane, true, fate.clone()), fate),
            other => (Parcel::native(text, false).with(other), WhenSlow::Disconnect),
        };
        let mut dropped = BTreeMap::new();
        let queued = self.outbox.push(parcel, BUDGET, &mut |parcel, reason| {
            assert!(parcel.origin().is_some(), "only publications are given up");
            assert_eq!(dropped.insert(number(parcel), reason), None, "given up once");
        });
        if queued == Queued::Hopeless {
            // The session would end here; the test goes on without this packet.
            assert!(!matches!(fate, WhenSlow::DropOldest | WhenSlow::Conflate(_)), "what may be dropped costs nobody");
        } else {
            assert_eq!(queued == Queued::GaveUp, !dropped.is_empty());
            // Neither the newest nor what is half written is given up in favour of what has to be kept.
            assert!(self.outbox.bytes() <= BUDGET + 2 * LARGEST);
            self.came.push(Guest { standing, fate });
        }
        self.dropped.append(&mut dropped);
    }

    /// The oldest that waits; signs of life do not count.
    fn oldest(&self) -> Option<usize> {
        let waits = |n: &usize| !self.left.contains(n) && !self.dropped.contains_key(n);
        (0..self.came.len()).filter(waits).find(|n| self.came[*n].standing != Standing::Vital)
    }

    /// The next one begins to leave.
    fn begin(&mut self, n: usize) {
        if self.came[n].standing != Standing::Vital {
            self.ahead = if self.oldest() == Some(n) { 0 } else { self.ahead + 1 };
        }
        self.left.push(n);
    }

    fn write(&mut self, most: usize) {
        let before: Vec<_> = self.outbox.iter().cloned().collect();
        let begun = self.outbox.written() > 0;
        let written = self.outbox.written();
        let all: usize = before.iter().map(|parcel| size(parcel)).sum();
        let count = most.min(all - written);
        self.outbox.advance(count, size);
        let mut end = 0;
        let mut whole = 0;
        for (at, parcel) in before.iter().enumerate() {
            if (at > 0 || !begun) && end < written + count {
                self.begin(number(parcel));
            }
            end += size(parcel);
            whole += usize::from(end <= written + count);
        }
        let expect: Vec<_> = before[whole..].iter().map(|parcel| number(parcel)).collect();
        let rest: Vec<_> = self.outbox.iter().map(|parcel| number(parcel)).collect();
        assert_eq!(rest, expect, "what is written is what was shown first");
        if self.outbox.is_empty() {
            self.ahead = 0;
        }
    }

    fn poll(&mut self, most: usize) {
        if self.outbox.written() == 0 {
            for parcel in self.outbox.take_some(most) {
                self.begin(number(&parcel));
            }
        }
    }

    fn finish(&mut self) {
        self.write(usize::MAX);
        assert!(self.outbox.is_empty() && self.outbox.side.is_none());
        assert_eq!((self.outbox.bytes, self.outbox.owed), (0, 0));
        let mut seen: Vec<_> = self.left.iter().chain(self.dropped.keys()).copied().collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..self.came.len()).collect::<Vec<_>>(), "each leaves once, or is given up once");
    }

    /// In the order in which they left, those for which that holds.
    fn such(&self, is_such: impl Fn(&Guest) -> bool) -> Vec<usize> {
        self.left.iter().copied().filter(|n| is_such(&self.came[*n])).collect()
    }
}

fn play(acts: Vec<Act>, mut check: impl FnMut(&Scene)) -> Scene {
    let mut scene = Scene::default();
    for act in acts {
        match act {
            Act::Push(standing, fate, filling) => scene.push(standing, fate, filling),
            Act::Write(most) => scene.write(most),
            Act::Poll(most) => scene.poll(most),
        }
        check(&scene);
    }
    scene.finish();
    scene
}

fn rises(numbers: &[usize]) -> bool {
    numbers.is_sorted()
}

proptest! {
    #[test]
    fn lanes_keep_their_order_and_starve_nobody(acts in acts(false)) {
        let scene = play(acts, |scene| assert!(scene.ahead <= MOST_AHEAD));
        for lane in Priority::ALL {
            prop_assert!(rises(&scene.such(|guest| guest.standing == Standing::Lane(lane))));
        }
        prop_assert!(rises(&scene.such(|guest| guest.standing == Standing::Vital)));
        prop_assert!(rises(&scene.such(|guest| matches!(guest.standing, Standing::Placed(_) | Standing::Barrier))));
        for (at, n) in scene.left.iter().enumerate() {
            let solid = |other: &&usize| scene.came[**other].standing != Standing::Vital;
            let (before, after) = (&scene.left[..at], &scene.left[at + 1..]);
            match scene.came[*n].standing {
                Standing::Answer => prop_assert!(after.iter().filter(solid).all(|other| other > n)),
                Standing::Barrier => {
                    prop_assert!(after.iter().all(|other| other > n));
                    prop_assert!(before.iter().all(|other| other < n));
                }
                _ => {}
            }
        }
        for n in scene.dropped.keys() {
            prop_assert_eq!(&scene.came[*n].fate, &WhenSlow::DropOldest);
        }
    }

    #[test]
    fn of_a_key_the_latest_arrives(acts in acts(true)) {
        let scene = play(acts, |_| {});
        prop_assert!(rises(&scene.such(|guest| matches!(guest.standing, Standing::Placed(_) | Standing::Barrier))));
        for key in ["a", "b", "c"].map(Arc::<str>::from) {
            let of_key = |guest: &Guest| matches!(&guest.fate, WhenSlow::Conflate(own) | WhenSlow::ConflateOrDisconnect(own) if *own == key);
            let last = (0..scene.came.len()).rfind(|n| of_key(&scene.came[*n]));
            if let Some(last) = last.filter(|last| scene.dropped.get(last) != Some(&Dropped::SlowConsumer)) {
                prop_assert!(scene.left.contains(&last), "{} is the latest", last);
            }
        }
        for (n, reason) in &scene.dropped {
            match (&scene.came[*n].fate, reason) {
                (WhenSlow::DropOldest | WhenSlow::Conflate(_), Dropped::SlowConsumer)
                | (WhenSlow::Conflate(_) | WhenSlow::ConflateOrDisconnect(_), Dropped::Conflated) => {}
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
