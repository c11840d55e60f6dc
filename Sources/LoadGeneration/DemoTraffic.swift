/// The demo's APIs, and requests that a gateway with the demo configuration understands.
package enum DemoTraffic {
    /// One request to send.
    package struct Request: Sendable, Equatable {
        /// Method in capitals.
        package var method: String
        /// Path with leading slash.
        package var path: String
        /// The API key to present, if any.
        package var key: String?
        /// Body bytes to send.
        package var bodyLength: Int
    }

    /// The demo's credentials; public on purpose, and only good for the built-in upstream.
    package static let keys = ["demo-key-shop", "demo-key-mobile", "demo-key-partner"]

    /// Routes with their share of the traffic; `#` stands for an identifier.
    private static let routes: [(method: String, path: String, keyed: Bool, weight: Double)] = [
        ("GET", "/orders", true, 14), ("GET", "/orders/#", true, 20), ("POST", "/orders", true, 8),
        ("DELETE", "/orders/#", true, 2), ("GET", "/catalog/items", false, 16),
        ("GET", "/catalog/items/#", false, 22), ("GET", "/catalog/search", false, 8),
        ("POST", "/payments", true, 5), ("GET", "/payments/#", true, 4),
        ("GET", "/catalog/old-page", false, 1),
    ]

    private static let routeChoice = WeightedChoice(weights: routes.map(\.weight))
    private static let keyChoice = WeightedChoice(zipf: keys.count, exponent: 1)

    /// The next request of the demo's mix; one in a hundred keyed requests presents a wrong key.
    package static func request(_ random: inout SeededGenerator) -> Request {
        let route = routes[routeChoice.draw(&random)]
        let identifier = String(random.below(10_000))
        let path = route.path.split(separator: "#", omittingEmptySubsequences: false)
            .joined(separator: identifier)
        var key: String?
        if route.keyed {
            key = random.below(100) == 0 ? "not-a-key" : keys[keyChoice.draw(&random)]
        }
        return Request(
            method: route.method,
            path: path,
            key: key,
            bodyLength: route.method == "POST" ? 200 + random.below(800) : 0
        )
    }

    /// The same APIs for records written straight into a log.
    static let apis: [TrafficProfile.API] = {
        func endpoint(_ text: String) -> TrafficProfile.Endpoint {
            let parts = text.split(separator: " ")
            return TrafficProfile.Endpoint(
                method: Array(parts[0].utf8),
                route: Array(parts[1].utf8),
                path: Array(parts[1].utf8)
            )
        }
        func api(_ id: String, _ version: String, _ routes: [String]) -> TrafficProfile.API {
            TrafficProfile.API(
                org: Array("demo".utf8),
                id: Array(id.utf8),
                version: Array(version.utf8),
                routes: routes.map(endpoint)
            )
        }
        return [
            api(
                "orders",
                "v1",
                ["GET /orders/{id}", "GET /orders", "POST /orders", "DELETE /orders/{id}"]
            ),
            api(
                "catalog",
                "v2",
                ["GET /catalog/items/{id}", "GET /catalog/items", "GET /catalog/search"]
            ),
            api("payments", "v1", ["POST /payments", "GET /payments/{id}"]),
        ]
    }()
}
