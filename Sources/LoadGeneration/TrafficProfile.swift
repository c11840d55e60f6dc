import Records

/// A population of APIs, routes and keys, and how often each of them comes up.
package struct TrafficProfile: Sendable {
    /// The named profiles.
    package enum Name: String, CaseIterable, Sendable {
        /// 200 APIs with 12 routes each and 20,000 keys, all by Zipf's law.
        case platform
        /// One API with five routes and ten keys.
        case ten
        /// The demo's three APIs and three keys.
        case demo
    }

    /// How latencies are distributed.
    package enum Latency: String, CaseIterable, Sendable {
        /// One hump with a long tail.
        case lognormal
        /// Two humps, as of cache hits and misses.
        case bimodal
        /// Every request alike.
        case constant
    }

    /// What the records of one API share.
    struct API: Sendable {
        var org: [UInt8]
        var id: [UInt8]
        var version: [UInt8]
        var routes: [Endpoint]
    }

    /// One route with its method.
    struct Endpoint: Sendable {
        var method: [UInt8]
        var route: [UInt8]
        var path: [UInt8]
    }

    /// A credential and who it belongs to.
    struct Key: Sendable {
        var id: [UInt8]
        var application: [UInt8]
        var plan: [UInt8]
        var clientIP: [UInt8]
    }

    let apis: [API]
    let keys: [Key]
    let apiChoice: WeightedChoice
    let routeChoice: WeightedChoice
    let keyChoice: WeightedChoice
    let latency: LatencyShape

    /// The profile of a name.
    package init(_ name: Name, latency: Latency = .lognormal) {
        switch name {
        case .platform:
            apis = (0..<200).map { Self.api($0, org: "org-\($0 % 10)", routeCount: 12) }
            keys = (0..<20_000).map(Self.key)
        case .ten:
            apis = [Self.api(0, org: "org-0", routeCount: 5)]
            keys = (0..<10).map(Self.key)
        case .demo:
            apis = DemoTraffic.apis
            keys = (0..<3).map(Self.key)
        }
        apiChoice = WeightedChoice(zipf: apis.count, exponent: 1)
        routeChoice = WeightedChoice(zipf: apis.map(\.routes.count).min() ?? 1, exponent: 1)
        keyChoice = WeightedChoice(zipf: keys.count, exponent: 1)
        let fast = LatencyShape(medianMicroseconds: 8_000, p99Microseconds: 120_000)
        self.latency =
            switch latency {
            case .lognormal: fast
            case .bimodal:
                LatencyShape(
                    fast: LatencyShape(medianMicroseconds: 900, p99Microseconds: 4_000),
                    slow: LatencyShape(medianMicroseconds: 90_000, p99Microseconds: 400_000),
                    slowShare: 0.3
                )
            case .constant: LatencyShape(constantMicroseconds: 12_345)
            }
    }

    private static func api(_ index: Int, org: String, routeCount: Int) -> API {
        let methods = ["GET", "GET", "POST", "GET", "PUT", "DELETE"]
        let routes = (0..<routeCount).map { route in
            Endpoint(
                method: Array(methods[route % methods.count].utf8),
                route: Array("/api-\(index)/resource-\(route)/{id}".utf8),
                path: Array("/api-\(index)/resource-\(route)/4711".utf8)
            )
        }
        return API(
            org: Array(org.utf8),
            id: Array("api-\(index)".utf8),
            version: Array("v\(1 + index % 3)".utf8),
            routes: routes
        )
    }

    private static func key(_ index: Int) -> Key {
        let plans = ["gold", "silver", "bronze", "free"]
        let hexadecimal = String(UInt64(index) &* 0x9E37_79B9_7F4A_7C15 | 1 << 63, radix: 16)
        return Key(
            id: Array(hexadecimal.utf8),
            application: Array("app-\(index / 2)".utf8),
            plan: Array(plans[index % plans.count].utf8),
            clientIP: Array("10.\(index >> 16 & 255).\(index >> 8 & 255).\(index & 255)".utf8)
        )
    }
}
