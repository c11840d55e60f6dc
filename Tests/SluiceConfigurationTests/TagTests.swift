import SluiceConfiguration
import Testing

/// `gateway.apis[].tags`.
@Suite("Tags of APIs")
struct TagTests {
    private func load(_ tags: String) -> LoadedConfiguration {
        ConfigurationLoader(environment: [:], hostName: "test", readFile: { _ in "" }).load(
            """
            gateway:
              apis:
                - id: orders
                  org: acme
                  listen_path: /orders/
                  upstreams: [builtin:demo]
                  auth: { mode: key, header: X-Key }
                  tags:
            """ + "\n" + tags,
            name: "sluice.yaml"
        )
    }

    @Test("fixed ones and those of header fields arrive")
    func values() throws {
        let loaded = load(
            """
                    - { name: team, value: payments }
                    - { name: tenant, header: X-Tenant, bytes_max: 32 }
                    - { name: Data.center-2, header: X-DC }
            """
        )
        #expect(loaded.problems.isEmpty, "\(loaded.problems)")
        var (team, tenant, place) = (
            TagSettings(name: "team"), TagSettings(name: "tenant"),
            TagSettings(name: "Data.center-2")
        )
        team.value = "payments"
        (tenant.header, tenant.bytesMax) = ("X-Tenant", 32)
        (place.header, place.bytesMax) = ("X-DC", 64)
        #expect(loaded.settings.gateway.apis.first?.tags == [team, tenant, place])
    }

    @Test("every mistake is listed with its line")
    func problems() {
        let loaded = load(
            """
                    - { name: team, value: payments }
                    - { name: team, value: other }
                    - { name: "a b", value: x }
                    - { name: none }
                    - { name: both, value: x, header: X-T }
                    - { name: mine, value: __other__ }
                    - { name: limit, value: x, bytes_max: 3 }
                    - { name: long, header: X-T, bytes_max: 257 }
                    - { name: secret, header: authorization }
                    - { name: key, header: x-key }
                    - { name: broken, header: "X T" }
                    - { value: x }
            """
        )
        let tags = "gateway.apis[0].tags"
        let expected: [(String, Int)] = [
            ("\(tags)[1].name", 10), ("\(tags)[2].name", 11), ("\(tags)[3]", 12),
            ("\(tags)[4]", 13), ("\(tags)[5].value", 14), ("\(tags)[6].bytes_max", 15),
            ("\(tags)[7].bytes_max", 16), ("\(tags)[8].header", 17), ("\(tags)[9].header", 18),
            ("\(tags)[10].header", 19), ("\(tags)[11]", 20),
        ]
        let found = loaded.problems.map { problem in
            let line = problem.description.split(separator: ":").dropFirst().first ?? ""
            return "\(problem.path) in line \(line)"
        }
        #expect(found.sorted() == expected.map { "\($0.0) in line \($0.1)" }.sorted())
    }

    @Test("more than sixteen are refused")
    func many() {
        let lines = (0..<17).map { "        - { name: t\($0), value: x }" }
        let loaded = load(lines.joined(separator: "\n"))
        #expect(loaded.problems.map(\.path) == ["gateway.apis[0].tags"])
    }
}
