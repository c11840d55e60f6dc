import Foundation
import Postgres
import PostgresTesting
import Synchronization
import Testing

/// Clients, pools, and what they leave behind.
@Suite("PostgreSQL client and pool", .timeLimit(.minutes(5)))
struct PoolAndLeakTests {
    /// What the callers of a pool saw.
    final class Probe: Sendable {
        let busy = Mutex<Set<Int32>>([])
        let refused = Atomic<Int>(0)
        let done = Atomic<Int>(0)
    }

    @Test("a client reconnects after its backend was killed, and repeats nothing by itself")
    func reconnect() async throws {
        let database = try TestDatabase()
        let client = PostgresClient(
            database.uri,
            prepare: { try $0.execute("SET application_name = 'prepared'") }
        )
        let probe = Probe()
        let first = try await client.run { $0.backendPID }
        try await PostgresClient(database.superuserURI).run {
            _ = try $0.query("SELECT pg_terminate_backend($1::int, 5000)", [.int(Int64(first))])
        }
        await #expect(throws: PostgresError.self) {
            try await client.run { connection in
                probe.done.wrappingAdd(1, ordering: .relaxed)
                try connection.execute("SELECT 1")
            }
        }
        #expect(probe.done.load(ordering: .relaxed) == 1)
        let second = try await client.run { connection in
            let name = try connection.query("SHOW application_name").text(0, 0)
            #expect(name == "prepared")
            return connection.backendPID
        }
        #expect(second != first)
        await client.close()
        try database.drop()
    }

    @Test("a transaction left open by one piece of work does not reach the next")
    func leftOpen() async throws {
        try await TestDatabase.with { uri in
            let client = PostgresClient(uri)
            try await client.run { try $0.begin() }
            #expect(try await client.run { $0.isInTransaction } == false)
        }
    }

    @Test("a pool lends each connection to one caller at a time and refuses beyond its limit")
    func pool() async throws {
        try await TestDatabase.with { uri in
            let pool = PostgresPool(uri, size: 2, waitersMax: 3)
            let probe = Probe()
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<40 {
                    group.addTask {
                        do {
                            try await pool.run { connection in
                                let process = connection.backendPID
                                #expect(probe.busy.withLock { $0.insert(process).inserted })
                                _ = try connection.query("SELECT pg_sleep(0.01)")
                                _ = probe.busy.withLock { $0.remove(process) }
                            }
                            probe.done.wrappingAdd(1, ordering: .relaxed)
                        } catch let error as PostgresError {
                            #expect(error.sqlState == "53300")
                            probe.refused.wrappingAdd(1, ordering: .relaxed)
                        } catch {
                            Issue.record(error)
                        }
                    }
                }
            }
            let total = probe.done.load(ordering: .relaxed) + probe.refused.load(ordering: .relaxed)
            #expect(total == 40)
            #expect(probe.done.load(ordering: .relaxed) >= 5)
            let processes = try await pool.run {
                try $0.query(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                ).int(0, 0)
            }
            #expect((processes ?? 9) <= 2)
            await pool.close()
        }
    }

    @Test("a caller that is cancelled while waiting leaves the queue")
    func cancelled() async throws {
        try await TestDatabase.with { uri in
            let pool = PostgresPool(uri, size: 1)
            let (started, signal) = AsyncStream.makeStream(
                of: Void.self,
                bufferingPolicy: .bufferingNewest(1)
            )
            let release = DispatchSemaphore(value: 0)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    try await pool.run { _ in
                        signal.yield()
                        release.wait()
                    }
                }
                for await _ in started { break }
                let waiting = Task { try await pool.run { _ in } }
                waiting.cancel()
                await #expect(throws: CancellationError.self) { try await waiting.value }
                release.signal()
                try await group.waitForAll()
            }
            #expect(try await pool.run { try $0.query("SELECT 1").int(0, 0) } == 1)
        }
    }

    @Test("10,000 queries, failed queries and 300 connections leave no memory behind")
    func leaks() async throws {
        // In a process of its own: the memory of other tests would hide or fake a leak.
        await #expect(processExitsWith: .success) {
            let uri = try TestDatabase().uri
            let connection = try PostgresConnection(uri, applicationName: "leak")
            func queries(_ count: Int) throws {
                for number in 0..<count {
                    let result = try connection.query(
                        "SELECT $1::text, repeat('x', 2000)",
                        [.text("\(number)")]
                    )
                    #expect(result.rowCount == 1)
                    if number % 10 == 0 { _ = try? connection.execute("SELECT no_such_column") }
                }
            }
            func connections(_ count: Int) throws {
                for _ in 0..<count {
                    _ = try PostgresConnection(uri, applicationName: "leak")
                    _ = try? PostgresConnection(
                        "postgresql:///x?host=/nonexistent",
                        applicationName: "leak"
                    )
                }
            }
            try queries(1_000)
            try connections(20)
            let before = Self.residentKilobytes()
            try queries(10_000)
            try connections(300)
            let growth = Self.residentKilobytes() - before
            // 10,000 results of 2 kB, or 300 connections with their buffers, would be 20 MB.
            #expect(growth < 8_000, "\(growth) kB")
        }
    }

    /// The process's resident memory, from `/proc`.
    static func residentKilobytes() -> Int {
        let text = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
        let line = text.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
        return Int(line?.filter { $0.isNumber } ?? "") ?? 0
    }
}
