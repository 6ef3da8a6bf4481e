//! What the door promises, in every order in which publishers, returning permits and the end of the node can meet.
//! A lost wake-up is a thread that waits for ever, which the model checker reports as a deadlock.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{join, poll_immediate};
use shuttle::future::block_on;
use shuttle::sync::Barrier;
use shuttle::thread;

use super::*;
use crate::sync::model::{every_order, many_orders};

/// Publications of so many bytes each: one thread each, through one door, which must be as good as new afterwards.
fn crowd(permits: usize, bytes: usize, sizes: &'static [usize]) -> impl Fn() + Send + Sync + Clone {
    move || {
        let door = Door::new(permits, bytes);
        let inside = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let publishers: Vec<_> = sizes
            .iter()
            .map(|&size| {
                let (door, inside) = (door.clone(), Arc::clone(&inside));
                thread::spawn(move || {
                    let permit = block_on(door.enter(size)).expect("the door is open");
                    let others = inside.0.fetch_add(1, Ordering::SeqCst);
                    let total = inside.1.fetch_add(size, Ordering::SeqCst) + size;
                    assert!(others < permits);
                    assert!(total <= bytes || others == 0, "{total} bytes, and not by one alone");
                    thread::yield_now();
                    inside.0.fetch_sub(1, Ordering::SeqCst);
                    inside.1.fetch_sub(size, Ordering::SeqCst);
                    drop(permit);
                })
            })
            .collect();
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        assert_unused(&door);
    }
}

fn assert_unused(door: &Door) {
    let state = door.state.lock();
    assert_eq!((state.inside, state.bytes, state.line.len()), (0, 0, 0));
}

#[test]
fn never_more_inside_than_permits_and_everybody_gets_in() {
    every_order(crowd(1, 10, &[1, 1]));
    many_orders(crowd(2, 10, &[1, 1, 1, 1, 1]));
}

#[test]
fn never_more_bytes_inside_than_allowed_and_the_largest_gets_in() {
    every_order(crowd(2, 10, &[6, 6]));
    many_orders(crowd(3, 10, &[100, 4, 6, 5, 1]));
}

#[test]
fn what_one_task_asks_for_enters_in_that_order_whichever_wakes_first() {
    every_order(|| {
        let door = Door::new(1, 10);
        let permit = block_on(door.enter(1));
        let returning = thread::spawn(move || drop(permit));
        let entered = std::cell::RefCell::new(Vec::new());
        let enter = async |name: &'static str| {
            let permit = door.enter(1).await;
            entered.borrow_mut().push(name);
            drop(permit);
        };
        block_on(async {
            let (mut first, mut second) = (Box::pin(enter("first")), Box::pin(enter("second")));
            // They line up in this order (or are already through), then are polled in the other.
            let done = poll_immediate(&mut first).await.is_some();
            let both_done = poll_immediate(&mut second).await.is_some();
            match (done, both_done) {
                (false, false) => drop(join(second, first).await),
                (false, true) => unreachable!("the second overtook the first"),
                (true, false) => second.await,
                (true, true) => {}
            }
        });
        assert_eq!(*entered.borrow(), ["first", "second"]);
        returning.join().unwrap();
        assert_unused(&door);
    });
}

#[test]
fn nobody_overtakes_who_waits() {
    every_order(|| {
        let door = Door::new(2, 10);
        let mut inside = vec![block_on(door.enter(1)), block_on(door.enter(1))];
        block_on(async {
            let mut first = Box::pin(door.enter(10));
            assert!(poll_immediate(&mut first).await.is_none());
            inside.pop();
            // There is room for a small one now, but not for the first in line.
            let mut second = Box::pin(door.enter(1));
            assert!(poll_immediate(&mut second).await.is_none());
            inside.pop();
            // There is room for both, but the first in line has not looked yet.
            assert!(poll_immediate(&mut second).await.is_none());
            assert!(first.await.is_some());
            assert!(second.await.is_some());
        });
        assert_unused(&door);
    });
}

#[test]
fn two_permits_let_two_in_who_need_each_other() {
    many_orders(|| {
        let door = Door::new(2, 10);
        let permits = [block_on(door.enter(1)), block_on(door.enter(1))];
        let both_inside = Arc::new(Barrier::new(2));
        let come = || {
            let (door, both_inside) = (door.clone(), Arc::clone(&both_inside));
            thread::spawn(move || {
                let _permit = block_on(door.enter(1));
                both_inside.wait();
            })
        };
        let publishers = [come(), come()];
        drop(permits);
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        assert_unused(&door);
    });
}

#[test]
fn a_wait_that_moves_to_another_task_is_woken_there() {
    every_order(|| {
        let door = Door::new(1, 10);
        let permit = block_on(door.enter(1));
        let mut entry = Box::pin(door.enter(1));
        assert!(entry.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let returning = thread::spawn(move || drop(permit));
        assert!(block_on(entry).is_some());
        returning.join().unwrap();
        assert_unused(&door);
    });
}

#[test]
fn who_gives_up_loses_nothing_for_the_others() {
    // It gives up before the permit returns, or after it was woken for it, or has entered by then.
    let scene = |others: usize| {
        move || {
            let door = Door::new(1, 10);
            let permit = block_on(door.enter(1));
            let impatient = thread::spawn({
                let door = door.clone();
                move || {
                    let mut entry = Box::pin(door.enter(10));
                    let permit = block_on(poll_immediate(&mut entry));
                    thread::yield_now();
                    drop((entry, permit));
                }
            });
            let others: Vec<_> = (0..others)
                .map(|_| {
                    let door = door.clone();
                    thread::spawn(move || assert!(block_on(door.enter(1)).is_some()))
                })
                .collect();
            drop(permit);
            assert!(block_on(door.enter(1)).is_some());
            impatient.join().unwrap();
            others.into_iter().for_each(|publisher| publisher.join().unwrap());
            assert_unused(&door);
        }
    };
    every_order(scene(0));
    many_orders(scene(3));
}

#[test]
fn closing_sends_everybody_away_although_no_permit_returns() {
    every_order(|| {
        let door = Door::new(1, 10);
        let permit = block_on(door.enter(1));
        let waiting = thread::spawn({
            let door = door.clone();
            move || assert!(block_on(door.enter(1)).is_none())
        });
        door.close();
        waiting.join().unwrap();
        drop(permit);
        assert_unused(&door);
    });
}

#[test]
fn a_closed_door_is_empty_when_the_last_permit_has_returned() {
    let scene = |publishers: usize| {
        move || {
            let door = Door::new(1, 10);
            let inside = Arc::new(AtomicUsize::new(0));
            let publishers: Vec<_> = (0..publishers)
                .map(|_| {
                    let (door, inside) = (door.clone(), Arc::clone(&inside));
                    thread::spawn(move || {
                        let permit = block_on(door.enter(1));
                        inside.fetch_add(usize::from(permit.is_some()), Ordering::SeqCst);
                        thread::yield_now();
                        inside.fetch_sub(usize::from(permit.is_some()), Ordering::SeqCst);
                    })
                })
                .collect();
            let watcher = thread::spawn({
                let (door, inside) = (door.clone(), Arc::clone(&inside));
                move || {
                    block_on(door.emptied());
                    assert_eq!(inside.load(Ordering::SeqCst), 0);
                    assert!(block_on(door.enter(1)).is_none());
                }
            });
            door.close();
            watcher.join().unwrap();
            publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
            assert_unused(&door);
        }
    };
    every_order(scene(1));
    many_orders(scene(4));
}
