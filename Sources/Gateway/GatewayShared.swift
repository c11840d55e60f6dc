internal import FileIO
internal import Logging
internal import Synchronization
internal import Telemetry

/// What all loops read and none changes, and the one flag that all of them watch.
final class GatewayShared: Sendable {
    /// The configuration.
    let configuration: GatewayConfiguration
    /// Sizes beyond which a request is refused.
    let limits: GatewayLimits
    /// The times of the configuration in nanoseconds.
    let timeouts: Nanoseconds
    /// The compiled APIs.
    let apis: APITable
    /// The API keys.
    let credentials: CredentialTable
    /// The counters.
    let metrics: GatewayMetrics
    /// The clocks.
    let time: any TimeSource
    /// Where failures are reported.
    let logger: Logger
    /// Node name, in bytes as recorded.
    let node: [UInt8]
    /// Region, in bytes as recorded.
    let region: [UInt8]
    /// `Via` value, in bytes as sent; empty for none.
    let via: [UInt8]
    /// The most that the gateway itself adds to a record.
    let recordBytesMax: Int

    private let draining = Atomic<Bool>(false)
    private let connections = Atomic<Int>(0)

    /// Times in nanoseconds.
    struct Nanoseconds: Sendable {
        /// See `GatewayTimeouts`, also for the others.
        let request: UInt64
        let idle: UInt64
        let send: UInt64
        let connect: UInt64
        let firstByte: UInt64
        let betweenBytes: UInt64
        let upstreamIdle: UInt64
        let upstreamRest: UInt64
        let linger: UInt64

        fileprivate init(_ timeouts: GatewayTimeouts) {
            func nanoseconds(_ duration: Duration) -> UInt64 {
                let parts = duration.components
                let whole = UInt64(max(0, parts.seconds)).multipliedReportingOverflow(
                    by: 1_000_000_000
                )
                let fraction = UInt64(max(0, parts.attoseconds) / 1_000_000_000)
                // A century is as good as for ever, and cannot overflow when added to the clock.
                return whole.overflow ? 1 << 61 : min(whole.partialValue + fraction, 1 << 61)
            }
            request = nanoseconds(timeouts.request)
            idle = nanoseconds(timeouts.idle)
            send = nanoseconds(timeouts.send)
            connect = nanoseconds(timeouts.connect)
            firstByte = nanoseconds(timeouts.firstByte)
            betweenBytes = nanoseconds(timeouts.betweenBytes)
            upstreamIdle = nanoseconds(timeouts.upstreamIdle)
            upstreamRest = nanoseconds(timeouts.upstreamRest)
            linger = nanoseconds(timeouts.linger)
        }
    }

    /// Compiles a configuration.
    ///
    /// - Throws: `invalidConfiguration`.
    init(
        _ configuration: GatewayConfiguration,
        metrics: GatewayMetrics,
        time: any TimeSource,
        logger: Logger
    ) throws(GatewayError) {
        self.configuration = configuration
        limits = configuration.limits
        timeouts = Nanoseconds(configuration.timeouts)
        apis = try APITable(configuration)
        credentials = try CredentialTable(configuration)
        self.metrics = metrics
        self.time = time
        self.logger = logger
        node = Array(configuration.node.utf8)
        region = Array(configuration.region.utf8)
        via = configuration.via.map { Array("1.1 \($0)".utf8) } ?? []
        // Numbers, ids, fixed names and the tags of all fields stay below 400 bytes together.
        recordBytesMax = node.count + region.count + 512
    }

    /// Whether the gateway is shutting down.
    var isDraining: Bool { draining.load(ordering: .relaxed) }

    /// Says that the gateway is shutting down.
    func beginDraining() { draining.store(true, ordering: .relaxed) }

    /// Counts a client connection; false if there are too many, and then it is not counted.
    func admitConnection() -> Bool {
        let now = connections.wrappingAdd(1, ordering: .relaxed).newValue
        guard now <= limits.clientConnectionsMax else {
            connections.wrappingSubtract(1, ordering: .relaxed)
            metrics.clientConnectionsRefused.add()
            return false
        }
        metrics.clientConnections.add(1)
        return true
    }

    /// Counts a client connection out.
    func dismissConnection() {
        connections.wrappingSubtract(1, ordering: .relaxed)
        metrics.clientConnections.add(-1)
    }
}
