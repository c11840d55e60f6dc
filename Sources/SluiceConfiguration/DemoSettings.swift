extension GatewaySettings {
    /// The APIs and keys that are served when there is no configuration file.
    mutating func addDemo() {
        apis = [
            Self.demoAPI(
                "orders",
                "v1",
                .key(header: "X-Api-Key"),
                [
                    ("GET", "/orders"), ("POST", "/orders"), ("GET", "/orders/{id}"),
                    ("DELETE", "/orders/{id}"),
                ]
            ),
            Self.demoAPI(
                "catalog",
                "v2",
                .none,
                [
                    ("GET", "/catalog/items"), ("GET", "/catalog/items/{id}"),
                    ("GET", "/catalog/search"),
                ]
            ),
            Self.demoAPI(
                "payments",
                "v1",
                .key(header: "X-Api-Key"),
                [("POST", "/payments"), ("GET", "/payments/{id}")]
            ),
        ]
        // Public on purpose: they open nothing but the built-in upstream.
        keys = [("shop", "gold"), ("mobile", "silver"), ("partner", "bronze")].map { name, plan in
            var key = KeySettings(id: "demo-\(name)", secret: Secret("demo-key-\(name)"))
            key.org = "demo"
            key.application = name
            key.plan = plan
            return key
        }
    }

    private static func demoAPI(
        _ id: String,
        _ version: String,
        _ auth: AuthSettings,
        _ routes: [(method: String, template: String)]
    ) -> APISettings {
        var api = APISettings(
            id: id,
            org: "demo",
            listenPath: "/\(id)/",
            upstreams: [.builtInDemo]
        )
        api.version = version
        api.auth = auth
        api.routes = routes.map { RouteSettings(method: $0.method, template: $0.template) }
        return api
    }
}
