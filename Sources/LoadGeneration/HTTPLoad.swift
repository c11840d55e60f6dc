import NIOCore
import NIOHTTP1
import NIOPosix

/// Sends seeded requests to a gateway at a fixed rate, whatever the answers take: an open loop.
///
/// Latency counts from the instant at which a request was due, so a stalled server is not flattered
/// by requests that were never sent (coordinated omission).
package struct HTTPLoad: Sendable {
    /// Address of the gateway.
    package var host: String
    /// Port of the gateway.
    package var port: Int
    /// Requests due per second.
    package var rate: Double
    /// Requests in total: rate times duration.
    package var requests: Int
    /// Connections kept open; requests that find none free wait, and their latency shows it.
    package var connections: Int
    /// Decides every request.
    package var seed: UInt64

    /// A plan; all numbers are positive.
    package init(
        host: String,
        port: Int,
        rate: Double,
        requests: Int,
        connections: Int,
        seed: UInt64
    ) {
        self.host = host
        self.port = port
        self.rate = rate
        self.requests = requests
        self.connections = connections
        self.seed = seed
    }

    /// Sends all requests and waits for their answers, at most ten seconds longer than planned.
    ///
    /// `onProgress` is called about ten times a second with the number of finished requests, on the
    /// load's event loop. Throws when no connection can be made at all.
    package func run(
        onProgress: @escaping @Sendable (Int) -> Void = { _ in }
    ) async throws -> HTTPLoadReport {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        do {
            let loop = group.next()
            let report = try await loop.flatSubmit {
                LoadDriver(plan: self, loop: loop, onProgress: onProgress).start()
            }.get()
            try await group.shutdownGracefully()
            return report
        } catch {
            try? await group.shutdownGracefully()
            throw error
        }
    }
}

/// What a load run saw.
package struct HTTPLoadReport: Sendable {
    /// Requests written to a socket.
    package var sent = 0
    /// Requests answered completely.
    package var completed = 0
    /// Requests whose connection broke, or that were not answered in time.
    package var failed = 0
    /// Answers per status.
    package var statuses: [Int: Int] = [:]
    /// Latencies of completed requests in microseconds, ascending.
    package var latencies: [UInt32] = []
    /// Seconds from the first due request to the last answer.
    package var seconds = 0.0

    /// Nearest-rank quantile of the latencies in seconds; nil when nothing completed.
    package func quantile(_ share: Double) -> Double? {
        guard !latencies.isEmpty else { return nil }
        let rank = max(1, Int((share * Double(latencies.count)).rounded(.up)))
        return Double(latencies[min(rank, latencies.count) - 1]) / 1_000_000
    }
}
