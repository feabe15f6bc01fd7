//! What waits to be stretched.

use std::collections::VecDeque;

use acquaint_protocol::pair::{StretchPepper, Stretched, Suite};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::PoolError;

/// Urgent work that may wait at once; more is refused.
const MAX_URGENT: usize = 256;

/// Which queue work waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Somebody waits for this one hash: goes before everything in bulk.
    Urgent,
    /// Part of an import.
    Bulk,
}

/// One Argon2id to compute, and who waits for it.
pub(super) struct Task {
    pub(super) suite: Suite,
    pub(super) pepper: StretchPepper,
    pub(super) password: Zeroizing<Vec<u8>>,
    pub(super) reply: oneshot::Sender<Result<Stretched, PoolError>>,
}

/// Tasks in two lanes.
#[derive(Default)]
pub(super) struct Queue {
    urgent: VecDeque<Task>,
    bulk: VecDeque<Task>,
    closed: bool,
}

impl Queue {
    /// Adds a task to the end of its lane.
    pub(super) fn put(&mut self, lane: Lane, task: Task) -> Result<(), PoolError> {
        if self.closed {
            return Err(PoolError::Closed);
        }
        match lane {
            Lane::Urgent if self.urgent.len() >= MAX_URGENT => return Err(PoolError::Busy),
            Lane::Urgent => self.urgent.push_back(task),
            Lane::Bulk => self.bulk.push_back(task),
        }
        Ok(())
    }

    /// The next tasks for one of `threads` threads: of one suite and one lane, `width` at most, and no more than a thread's
    /// share of the lane. Those that nobody waits for any more are dropped. Empty if nothing waits.
    pub(super) fn take(&mut self, width: usize, threads: usize) -> Vec<Task> {
        for lane in [&mut self.urgent, &mut self.bulk] {
            while lane.front().is_some_and(|task| task.reply.is_closed()) {
                lane.pop_front();
            }
            let most = width.min(lane.len().div_ceil(threads));
            let mut batch: Vec<Task> = Vec::with_capacity(most);
            // The longest-waiting one is always taken, and what fits to it from further back.
            let mut at = 0;
            while batch.len() < most
                && let Some(task) = lane.get(at)
            {
                if task.reply.is_closed() {
                    lane.remove(at);
                } else if batch.first().is_none_or(|first| first.suite == task.suite) {
                    batch.extend(lane.remove(at));
                } else {
                    at += 1;
                }
            }
            if !batch.is_empty() {
                return batch;
            }
        }
        Vec::new()
    }

    /// Refuses everything from now on, and drops what waits.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.urgent.clear();
        self.bulk.clear();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.bulk.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Waiting = oneshot::Receiver<Result<Stretched, PoolError>>;

    /// A task that is known by its password.
    fn task(name: &str, suite: Suite) -> (Task, Waiting) {
        let (reply, waiting) = oneshot::channel();
        let pepper = StretchPepper::from_bytes([0; 32]);
        (Task { suite, pepper, password: Zeroizing::new(name.into()), reply }, waiting)
    }

    fn filled(urgent: &[(&str, Suite)], bulk: &[(&str, Suite)]) -> (Queue, Vec<Waiting>) {
        let (mut queue, mut waiting) = (Queue::default(), Vec::new());
        for (lane, tasks) in [(Lane::Urgent, urgent), (Lane::Bulk, bulk)] {
            for (name, suite) in tasks {
                let (task, waits) = task(name, *suite);
                queue.put(lane, task).unwrap();
                waiting.push(waits);
            }
        }
        (queue, waiting)
    }

    fn names(batch: Vec<Task>) -> Vec<String> {
        batch.into_iter().map(|task| String::from_utf8(task.password.to_vec()).unwrap()).collect()
    }

    const S: Suite = Suite::STANDARD;

    #[test]
    fn urgent_work_goes_first_and_by_itself() {
        let (mut queue, _waiting) = filled(&[("u", S)], &[("a", S), ("b", S)]);
        assert_eq!(names(queue.take(3, 1)), ["u"]);
        assert_eq!(names(queue.take(3, 1)), ["a", "b"]);
        assert!(queue.is_empty() && queue.take(3, 1).is_empty());
    }

    #[test]
    fn a_batch_is_of_one_suite() {
        let (mut queue, _waiting) =
            filled(&[], &[("a", S), ("b", Suite::HARD), ("c", Suite::HARD), ("d", S)]);
        assert_eq!(names(queue.take(3, 1)), ["a", "d"]);
        assert_eq!(names(queue.take(3, 1)), ["b", "c"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn what_nobody_waits_for_is_dropped() {
        let (mut queue, mut waiting) =
            filled(&[("u", S)], &[("a", S), ("b", Suite::HARD), ("c", S), ("d", S)]);
        for gone in [4, 2, 0] {
            drop(waiting.remove(gone));
        }
        assert_eq!(names(queue.take(4, 1)), ["a", "c"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn threads_share_what_waits() {
        let (mut queue, _waiting) = filled(&[], &[("a", S), ("b", S), ("c", S), ("d", S), ("e", S)]);
        assert_eq!(names(queue.take(3, 4)), ["a", "b"]);
        assert_eq!(names(queue.take(3, 4)), ["c"]);
        assert_eq!(names(queue.take(3, 1)), ["d", "e"]);
    }

    #[test]
    fn too_much_urgent_work_and_work_after_the_end_are_refused() {
        let mut queue = Queue::default();
        let mut waiting = Vec::new();
        for _ in 0..MAX_URGENT {
            let (task, waits) = task("u", S);
            queue.put(Lane::Urgent, task).unwrap();
            waiting.push(waits);
        }
        assert!(matches!(queue.put(Lane::Urgent, task("u", S).0), Err(PoolError::Busy)));
        queue.put(Lane::Bulk, task("b", S).0).unwrap();
        queue.close();
        assert!(queue.is_closed() && queue.is_empty());
        assert!(matches!(queue.put(Lane::Bulk, task("b", S).0), Err(PoolError::Closed)));
        assert!(waiting.iter_mut().all(|waits| waits.try_recv().is_err()));
    }
}
