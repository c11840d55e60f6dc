internal import Synchronization

/// A thread of its own that runs an actor's jobs, for blocking C calls.
///
/// An actor pins itself with `nonisolated var unownedExecutor: UnownedSerialExecutor
/// { executor.asUnownedSerialExecutor() }` and must keep the executor alive. Jobs run in the order
/// in which they arrive.
package final class ThreadExecutor: SerialExecutor, Sendable {
    private let queue: JobQueue
    private let thread: NamedThread

    /// Starts the thread.
    ///
    /// - Parameter name: Shown by `ps` and debuggers; 15 bytes are kept.
    package init(name: String) {
        let queue = JobQueue()
        self.queue = queue
        thread = NamedThread(name: name) { queue.run() }
    }

    deinit {
        queue.close()
    }

    /// Hands a job to the thread.
    ///
    /// - Parameter job: The job; run after all that came before it.
    package func enqueue(_ job: consuming ExecutorJob) {
        unsafe queue.append(QueuedJob(job: UnownedJob(job), executor: asUnownedSerialExecutor()))
    }

    /// The reference that an actor returns as its `unownedExecutor`.
    ///
    /// - Returns: A reference that does not keep the executor alive.
    package func asUnownedSerialExecutor() -> UnownedSerialExecutor {
        unsafe UnownedSerialExecutor(ordinary: self)
    }

    /// Ends the thread after the jobs that are queued now.
    ///
    /// A job that arrives later still runs, on the thread that brings it, so that nobody waits for
    /// ever; do not call it before the actor has finished its work.
    package func shutdown() {
        queue.close()
    }
}

/// A job and the executor that it must be run on.
@safe
private struct QueuedJob: Sendable {
    private let job: UnownedJob
    private let executor: UnownedSerialExecutor

    init(job: UnownedJob, executor: UnownedSerialExecutor) {
        self.job = job
        unsafe self.executor = executor
    }

    /// Runs the job on the calling thread; once only.
    func run() {
        unsafe job.runSynchronously(on: executor)
    }
}

/// The jobs waiting for an executor's thread.
private final class JobQueue: Sendable {
    /// What the lock protects.
    private struct State {
        var jobs: [QueuedJob] = []
        var isClosed = false
    }

    private let state = Mutex(State())
    private let bell = Doorbell()

    /// Queues a job, or runs it here when the thread has ended.
    func append(_ job: QueuedJob) {
        let accepted = state.withLock { state in
            if !state.isClosed {
                state.jobs.append(job)
            }
            return !state.isClosed
        }
        if accepted {
            bell.ring()
        } else {
            job.run()
        }
    }

    /// Lets `run` return when the queue is empty.
    func close() {
        state.withLock { $0.isClosed = true }
        bell.ring()
    }

    /// Runs jobs until closed and empty.
    func run() {
        while true {
            let seen = bell.count
            let (jobs, isClosed) = state.withLock { state in
                let jobs = state.jobs
                state.jobs = []
                return (jobs, state.isClosed)
            }
            for job in jobs {
                job.run()
            }
            if jobs.isEmpty {
                if isClosed { return }
                bell.wait(since: seen)
            }
        }
    }
}
