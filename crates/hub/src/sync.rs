//! The lock under which order is made: parking_lot's, and in this crate's unit tests shuttle's, whose scheduler tries
//! the orders in which threads can take it. So what the unit tests prove, they prove of the code that ships; they use
//! it inside `model::every_order` or `model::many_orders` only.

#[cfg(not(test))]
pub(crate) use parking_lot::{Mutex, MutexGuard};

#[cfg(test)]
pub(crate) use model::{Mutex, MutexGuard};

#[cfg(test)]
pub(crate) mod model {
    //! Threads that are scheduled by a model checker. A failure prints the schedule, which `shuttle::replay` repeats.

    use std::sync::PoisonError;

    use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler};
    pub(crate) use shuttle::sync::MutexGuard;
    use shuttle::{Config, Runner};

    /// Shuttle's lock with the interface of parking_lot's.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// Proves a small scene: plays it in every order in which its threads can take their steps.
    pub(crate) fn every_order(scene: impl Fn() + Send + Sync + 'static) {
        Runner::new(DfsScheduler::new(None, false), config()).run(scene);
    }

    /// Searches a scene that has too many orders: plays two thousand of them, other ones each time. Half are random;
    /// half change from thread to thread at a few moments only, where most races need no more.
    pub(crate) fn many_orders(scene: impl Fn() + Send + Sync + Clone + 'static) {
        const EACH: usize = 1_000;
        Runner::new(RandomScheduler::new(EACH), config()).run(scene.clone());
        Runner::new(PctScheduler::new(3, EACH), config()).run(scene);
    }

    /// A command of the hub takes more than shuttle's 32 KiB of stack in a build for debugging, and ends in its guard page.
    fn config() -> Config {
        let mut config = Config::new();
        config.stack_size = 256 * 1024;
        config
    }
}
