import EventLog
import FileIO
import Records
import Sinks
import Synchronization
import Threads

/// Runs one sink's driver on a thread of its own, and the sink's calls as tasks.
///
/// The driver's thread blocks on files and on its doorbell; nobody else ever waits for it, so a
/// sink that hangs holds up nothing but itself.
final class SinkRunner: Sendable {
    private let pumped: PumpedSink
    private let time: any TimeSource
    private let drainLimit: Duration
    private let directory: LogDirectory
    private let driver: ThreadOwned<SinkDriver>
    private let inbox = Mutex<[SinkDriver.Completion]>([])
    private let doorbell = Doorbell()
    private let isStopping = Atomic<Bool>(false)
    /// Whether what is in the logs is delivered before the stop.
    private let isDraining = Atomic<Bool>(false)
    /// Whether the driver waits for a change of the logs.
    private let isWaitingForLogs = Atomic<Bool>(false)
    /// The count of changes before the driver looked last.
    private let changeSeen = Atomic<UInt32>(0)
    /// Tells the watcher that somebody waits for a change.
    private let watcher: Doorbell

    /// A runner whose driver has not looked at anything.
    init(
        _ pumped: PumpedSink,
        _ configuration: PumpConfiguration,
        directory: LogDirectory,
        time: any TimeSource,
        driver: sending SinkDriver,
        watcher: Doorbell
    ) {
        self.pumped = pumped
        self.time = time
        self.directory = directory
        self.watcher = watcher
        drainLimit = configuration.drainLimit
        self.driver = ThreadOwned(name: "pump-\(pumped.name)", driver)
    }

    /// Delivers until `stop`; returns when the sink is closed.
    func run() async {
        // More than ever are under way: an opening, a flush, and the deliveries.
        let (jobs, queue) = AsyncStream<SinkDriver.Job>.makeStream(
            bufferingPolicy: .bufferingOldest(pumped.inFlightMax + 2)
        )
        await withTaskGroup { group in
            group.addTask {
                await self.driver.run { self.loop($0, queue) }
                queue.finish()
                await self.pumped.sink.close()
            }
            group.addTask {
                await withDiscardingTaskGroup { calls in
                    for await job in jobs {
                        calls.addTask { await self.perform(job) }
                    }
                }
            }
        }
    }

    /// Lets `run` return soon.
    ///
    /// - Parameter drains: Whether what is in the logs is delivered before, if that is possible
    ///   without waiting long; otherwise only what is under way is waited for.
    func stop(drains: Bool) {
        isDraining.store(drains, ordering: .releasing)
        isStopping.store(true, ordering: .releasing)
        doorbell.ring()
    }

    // MARK: The sink's calls

    private func perform(_ job: SinkDriver.Job) async {
        let completion: SinkDriver.Completion
        switch job {
        case .open:
            completion = .opened(
                await failure { () throws(SinkError) in
                    try await self.pumped.sink.open()
                }
            )
        case .flush:
            completion = .flushed(
                await failure { () throws(SinkError) in
                    try await self.pumped.sink.flush()
                }
            )
        case .deliver(let id, let batch):
            completion = .delivered(id, await pumped.sink.deliver(batch))
        }
        inbox.withLock { $0.append(completion) }
        doorbell.ring()
    }

    private func failure(_ call: () async throws(SinkError) -> Void) async -> SinkError? {
        do throws(SinkError) {
            try await call()
            return nil
        } catch {
            return error
        }
    }

    // MARK: The driver's thread

    private func loop(
        _ driver: SinkDriver,
        _ queue: AsyncStream<SinkDriver.Job>.Continuation
    ) {
        while !isStopping.load(ordering: .acquiring) {
            let rung = doorbell.count
            let change = directory.changeCount
            answer(driver)
            let step = driver.step()
            for job in step.jobs { queue.yield(job) }
            if step.waitsForLogs {
                changeSeen.store(change, ordering: .releasing)
                isWaitingForLogs.store(true, ordering: .sequentiallyConsistent)
                if directory.changeCount != change {
                    isWaitingForLogs.store(false, ordering: .relaxed)
                    continue
                }
                watcher.ring()
            }
            wait(since: rung, until: step.wakeAt)
            isWaitingForLogs.store(false, ordering: .relaxed)
        }
        drain(driver, queue)
    }

    /// Delivers what is left, or waits for what is under way, then stores the checkpoints.
    private func drain(
        _ driver: SinkDriver,
        _ queue: AsyncStream<SinkDriver.Job>.Continuation
    ) {
        let (seconds, attoseconds) = drainLimit.components
        let deadline =
            time.monotonicNanoseconds() &+ UInt64(clamping: seconds) &* 1_000_000_000
            &+ UInt64(clamping: attoseconds / 1_000_000_000)
        while true {
            let rung = doorbell.count
            answer(driver)
            if time.monotonicNanoseconds() >= deadline { break }
            var wakeAt = deadline
            if isDraining.load(ordering: .acquiring) {
                if driver.isAtRest { break }
                let step = driver.step()
                for job in step.jobs { queue.yield(job) }
                wakeAt = min(wakeAt, step.wakeAt)
            } else if driver.activeCount == 0 {
                break
            }
            wait(since: rung, until: wakeAt)
        }
        driver.storeAllCheckpoints()
    }

    private func answer(_ driver: SinkDriver) {
        let completions = inbox.withLock { inbox in
            defer { inbox = [] }
            return inbox
        }
        for completion in completions { driver.handle(completion) }
    }

    private func wait(since rung: UInt32, until deadline: UInt64) {
        let now = time.monotonicNanoseconds()
        guard deadline > now else { return }
        doorbell.wait(since: rung, timeoutNanoseconds: Int64(clamping: deadline - now))
    }

    // MARK: The watcher's thread

    /// Wakes the driver if it waits for a change that has happened.
    ///
    /// - Returns: Whether it waits on.
    func wake(_ change: UInt32) -> Bool {
        guard isWaitingForLogs.load(ordering: .sequentiallyConsistent) else { return false }
        if changeSeen.load(ordering: .acquiring) == change { return true }
        isWaitingForLogs.store(false, ordering: .relaxed)
        doorbell.ring()
        return false
    }
}
