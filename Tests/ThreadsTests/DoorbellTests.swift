import Synchronization
import Testing
import Threads

@Suite("Doorbell and threads")
struct DoorbellTests {
    @Test("a waiting thread wakes when the bell is rung")
    func wakes() {
        let bell = Doorbell()
        let seen = bell.count
        let woken = Atomic<UInt32>(0)
        let thread = NamedThread(name: "waiter") {
            woken.store(bell.wait(since: seen), ordering: .releasing)
        }
        bell.ring()
        thread.join()
        #expect(woken.load(ordering: .acquiring) == seen + 1)
    }

    @Test("a wait whose time is up returns the unchanged count")
    func timesOut() {
        let bell = Doorbell()
        #expect(bell.wait(since: bell.count, timeoutNanoseconds: 1_000_000) == bell.count)
    }

    @Test("a wait for a count that has passed returns at once")
    func returnsAtOnce() {
        let bell = Doorbell()
        bell.ring()
        #expect(bell.wait(since: 0) == 1)
    }
}

/// An actor that lives on a thread of its own.
private actor Counter {
    private let executor: ThreadExecutor
    private(set) var value = 0

    nonisolated var unownedExecutor: UnownedSerialExecutor {
        unsafe executor.asUnownedSerialExecutor()
    }

    init(executor: ThreadExecutor) {
        self.executor = executor
    }

    func increment() {
        value += 1
    }
}

@Suite("Thread executor")
struct ThreadExecutorTests {
    @Test("an actor pinned to a thread runs all its calls")
    func runsJobs() async {
        let executor = ThreadExecutor(name: "counter")
        let counter = Counter(executor: executor)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<100 {
                group.addTask {
                    for _ in 0..<100 { await counter.increment() }
                }
            }
        }
        let value = await counter.value
        #expect(value == 10_000)
        executor.shutdown()
    }

    @Test("executors come and go without leaking their threads")
    func comesAndGoes() async {
        for _ in 0..<200 {
            let executor = ThreadExecutor(name: "short")
            let counter = Counter(executor: executor)
            await counter.increment()
            executor.shutdown()
        }
    }
}
