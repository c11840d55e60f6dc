/// The integer measures of a rollup row, in the order of the SQL columns.
///
/// All are sums, except the minima and maxima, which are 0 while their count is 0. Sums saturate at
/// `Int64.max` (they add only what is not negative, so saturation is order-independent).
package struct Counts: Hashable, Sendable, BitwiseCopyable {
    /// Requests.
    package var requests: Int64 = 0
    /// Requests with a status of 400 to 499 that the client did not break off.
    package var clientErrors: Int64 = 0
    /// Errors that are not client errors.
    package var serverErrors: Int64 = 0
    /// Requests that the client broke off.
    package var aborted: Int64 = 0
    /// Bytes received from clients.
    package var bytesIn: Int64 = 0
    /// Bytes sent to clients.
    package var bytesOut: Int64 = 0
    /// The total duration.
    package var latency = Durations()
    /// The upstream's duration.
    package var upstream = Durations()

    /// Count, sum, minimum and maximum of known durations, in microseconds.
    package struct Durations: Hashable, Sendable, BitwiseCopyable {
        /// How many durations were known.
        package var count: Int64 = 0
        /// Their sum.
        package var sum: Int64 = 0
        /// The smallest; 0 when there was none.
        package var min: Int64 = 0
        /// The largest; 0 when there was none.
        package var max: Int64 = 0

        /// Makes durations of what a table holds.
        package init(count: Int64 = 0, sum: Int64 = 0, min: Int64 = 0, max: Int64 = 0) {
            self.count = count
            self.sum = sum
            self.min = min
            self.max = max
        }

        /// Adds one duration that is not negative.
        @inline(__always)
        package mutating func add(_ value: Int64) {
            min = count == 0 || value < min ? value : min
            max = value > max ? value : max
            count = count.addingSaturated(1)
            sum = sum.addingSaturated(value)
        }

        /// Adds what another row counted.
        package mutating func merge(_ other: Durations) {
            guard other.count > 0 else { return }
            min = count == 0 || other.min < min ? other.min : min
            max = other.max > max ? other.max : max
            count = count.addingSaturated(other.count)
            sum = sum.addingSaturated(other.sum)
        }
    }

    /// Makes counts of nothing.
    @inline(__always)
    package init() {}

    /// Makes counts of their numbers, in the order of the SQL columns.
    package init(numbers: [14 of Int64]) {
        requests = numbers[0]
        clientErrors = numbers[1]
        serverErrors = numbers[2]
        aborted = numbers[3]
        bytesIn = numbers[4]
        bytesOut = numbers[5]
        latency = .init(count: numbers[6], sum: numbers[7], min: numbers[8], max: numbers[9])
        upstream = .init(count: numbers[10], sum: numbers[11], min: numbers[12], max: numbers[13])
    }

    /// All numbers, in the order of the SQL columns.
    package var numbers: [14 of Int64] {
        [
            requests, clientErrors, serverErrors, aborted, bytesIn, bytesOut,
            latency.count, latency.sum, latency.min, latency.max,
            upstream.count, upstream.sum, upstream.min, upstream.max,
        ]
    }

    /// Adds what another row counted.
    package mutating func merge(_ other: Counts) {
        requests = requests.addingSaturated(other.requests)
        clientErrors = clientErrors.addingSaturated(other.clientErrors)
        serverErrors = serverErrors.addingSaturated(other.serverErrors)
        aborted = aborted.addingSaturated(other.aborted)
        bytesIn = bytesIn.addingSaturated(other.bytesIn)
        bytesOut = bytesOut.addingSaturated(other.bytesOut)
        latency.merge(other.latency)
        upstream.merge(other.upstream)
    }
}

extension Int64 {
    /// The sum with a number that is not negative, at most `Int64.max`.
    @inline(__always)
    func addingSaturated(_ other: Int64) -> Int64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}
