import Glibc
import Kafka

/// Rates of the Kafka module against a broker, comparable with `kcat -P` and `kcat -C`.
///
/// `kafka produce BROKER TOPIC COUNT [BYTES] [PROPERTY=VALUE…]` sends messages with a key of 36
/// bytes and the three headers of the transport; `kafka consume BROKER TOPIC [PROPERTY=VALUE…]`
/// reads the topic from its beginning to its end, with their headers.
enum KafkaBench {
    /// Runs what the arguments after `kafka` say.
    static func run(_ arguments: [String]) {
        do throws(KafkaError) {
            switch arguments.first {
            case "produce" where arguments.count >= 4:
                try produce(Array(arguments.dropFirst()))
            case "consume" where arguments.count >= 3:
                try consume(Array(arguments.dropFirst()))
            default:
                print("kafka produce BROKER TOPIC COUNT [BYTES] [PROPERTY=VALUE…]")
                print("kafka consume BROKER TOPIC [PROPERTY=VALUE…]")
            }
        } catch {
            print(error)
        }
    }

    /// Produces and prints the rate.
    private static func produce(_ arguments: [String]) throws(KafkaError) {
        let count = Int(arguments[2]) ?? 0
        let bytes = arguments.dropFirst(3).lazy.compactMap { Int($0) }.first ?? 300
        let producer = try KafkaProducer(configuration(arguments))
        let topic = try producer.topic(arguments[1])
        let keys = (0..<32).map { Array("0190a8a0-0000-7000-8000-0000000000\(10 + $0)".utf8) }
        let value = (0..<bytes).map { _ in UInt8.random(in: 0x61...0x7A) }
        var headers = KafkaHeaders()
        var delivered = 0
        var failed = 0
        let report: (KafkaDelivery) -> Void = { delivery in
            if delivery.error == nil { delivered += 1 } else { failed += 1 }
        }
        let watch = Stopwatch()
        for number in 0..<count {
            let key = keys[number % keys.count]
            headers.removeAll()
            headers.append("sluice-log", key.span)
            headers.append("sluice-offset", decimal: UInt64(number))
            headers.append("sluice-schema", decimal: 1)
            while true {
                do throws(KafkaError) {
                    try producer.produce(
                        topic,
                        key: key.span,
                        value: value.span,
                        headers: headers,
                        token: UInt64(number)
                    )
                    break
                } catch {
                    guard error.isQueueFull else { throw error }
                    producer.poll(timeout: .seconds(10), report)
                }
            }
            if number % 1_000 == 999 { producer.poll(timeout: .zero, report) }
        }
        try producer.flush(timeout: .seconds(60), report)
        watch.report("kafka produce (\(bytes) B)", delivered)
        if failed > 0 { print("  \(failed) failed") }
    }

    /// Consumes everything there is and prints the rate, from the first message on.
    private static func consume(_ arguments: [String]) throws(KafkaError) {
        let configuration = configuration(arguments)
        let admin = try KafkaAdmin(configuration)
        guard let topic = try admin.topic(arguments[1], timeout: .seconds(10)) else {
            return print("no topic \(arguments[1])")
        }
        admin.close()
        let consumer = try KafkaConsumer(configuration, group: "sluice-bench")
        var start: [KafkaPartition: Int64] = [:]
        for number in 0..<topic.partitionCount {
            start[KafkaPartition(topic.name, Int32(number))] = KafkaOffset.beginning
        }
        try consumer.assign(start)
        var watch = Stopwatch()
        var messages = 0
        var bytes = 0
        var ends = 0
        while ends < topic.partitionCount {
            consumer.poll(timeout: .seconds(10), countMax: 10_000) { event in
                switch event {
                case .message(let message):
                    if messages == 0 { watch = Stopwatch() }
                    messages += 1
                    if let value = message.value { bytes += value.count }
                    if let offset = message.header("sluice-offset") { bytes += offset.count }
                    if let log = message.header("sluice-log") { bytes += log.count }
                case .endOfPartition: ends += 1
                case .error(let error, _): print(error)
                default: break
                }
            }
        }
        watch.report("kafka consume (\(bytes / max(1, messages)) B)", messages)
        consumer.close()
    }

    /// The broker, and the properties among the arguments.
    private static func configuration(_ arguments: [String]) -> KafkaConfiguration {
        var configuration = KafkaConfiguration(brokers: [arguments[0]])
        for argument in arguments.dropFirst(2) {
            let parts = argument.split(separator: "=", maxSplits: 1).map(String.init)
            if parts.count == 2 { configuration.client[parts[0]] = parts[1] }
        }
        return configuration
    }

    /// Times by the wall, of the process's processors and of this thread's.
    private struct Stopwatch {
        private let wall = ContinuousClock.now
        private let process = seconds(CLOCK_PROCESS_CPUTIME_ID)
        private let thread = seconds(CLOCK_THREAD_CPUTIME_ID)

        /// Prints the rate since the start.
        func report(_ name: String, _ count: Int) {
            let elapsed = ContinuousClock.now - wall
            let seconds = elapsed / .seconds(1)
            let all = (Self.seconds(CLOCK_PROCESS_CPUTIME_ID) - process) / Double(max(1, count))
            let own = (Self.seconds(CLOCK_THREAD_CPUTIME_ID) - thread) / Double(max(1, count))
            print(
                "\(name): \(Int(Double(count) / seconds)) messages/s, \(Int(all * 1e9)) ns of"
                    + " processors each, \(Int(own * 1e9)) ns of them on our thread"
            )
        }

        private static func seconds(_ clock: clockid_t) -> Double {
            var time = timespec()
            unsafe clock_gettime(clock, &time)
            return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
        }
    }
}
