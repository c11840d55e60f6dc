import Kafka
import KafkaTesting
import Testing

/// Members of consumer groups: rebalances, moving, pausing, errors.
@Suite("Kafka consumer", .timeLimit(.minutes(10)), .serialized)
struct ConsumerTests {
    /// A cluster with the topic `records` of four partitions and 40 messages.
    private func makeCluster() throws -> MockCluster {
        let cluster = try MockCluster()
        try cluster.createTopic("records", partitions: 4)
        try fill(cluster, partitions: 4, count: 40)
        return cluster
    }

    @Test(
        "members share partitions, cooperatively or not, and take over from one that leaves",
        arguments: KafkaAssignor.allCases
    )
    func rebalance(assignor: KafkaAssignor) throws {
        let cluster = try makeCluster()
        let first = try Member(cluster, assignor: assignor)
        #expect(turns([first]) { first.assigned == partitions(4) && first.ends.count == 4 })
        #expect(first.consumer.isCooperative == (assignor == .cooperativeSticky))
        let second = try Member(cluster, assignor: assignor)
        #expect(
            turns([first, second]) {
                first.assigned.count == 2 && second.assigned.count == 2
                    && first.assigned.union(second.assigned) == partitions(4)
                    && second.ends.count == 2
            }
        )
        #expect(Set(first.consumer.assignment) == first.assigned)
        // Giving up everything is the eager way, giving up two of four the cooperative one.
        let given = first.revocations.map(\.count).max()
        #expect(given == (assignor == .cooperativeSticky ? 2 : 4))
        second.consumer.close()
        #expect(turns([first]) { first.assigned == partitions(4) })
        #expect(first.errors.filter(\.isFatal).isEmpty && second.errors.isEmpty)
        for partition in partitions(4) {
            #expect(first.offsets[partition]?.starts(with: 0..<10) == true)
        }
    }

    @Test("a static member that comes back within its session gets its partitions again")
    func staticMembership() throws {
        let cluster = try makeCluster()
        let first = try Member(cluster, instanceID: "one")
        #expect(turns([first]) { first.assigned == partitions(4) })
        first.consumer.close()
        let again = try Member(cluster, instanceID: "one")
        #expect(turns([again]) { again.assigned == partitions(4) && again.ends.count == 4 })
        #expect(again.errors.filter(\.isFatal).isEmpty)
    }

    @Test("a member that the group has forgotten loses its partitions, and gets them anew")
    func lost() throws {
        let cluster = try makeCluster()
        let member = try Member(cluster)
        #expect(turns([member]) { member.assigned == partitions(4) })
        cluster.fail(.heartbeat, with: [25])
        #expect(turns([member]) { !member.lost.isEmpty && member.assigned == partitions(4) })
        #expect(member.revocations.isEmpty)
    }

    @Test(
        "partitions that are lost while they are paused are fetched from when they come again",
        arguments: KafkaAssignor.allCases
    )
    func pausedAndLost(assignor: KafkaAssignor) throws {
        let cluster = try makeCluster()
        let member = try Member(cluster, assignor: assignor)
        #expect(turns([member]) { member.ends.count == 4 })
        try member.consumer.pause(member.consumer.assignment)
        cluster.fail(.heartbeat, with: [25])
        #expect(turns([member]) { !member.lost.isEmpty && member.assigned == partitions(4) })
        try fill(cluster, partitions: 4, count: 4)
        #expect(turns([member]) { member.offsets.values.allSatisfy { $0.last == 10 } })
    }

    @Test(
        "moving a partition drops what was fetched; pausing stops and resuming goes on",
        arguments: KafkaAssignor.allCases
    )
    func moveAndPause(assignor: KafkaAssignor) throws {
        let cluster = try makeCluster()
        let member = try Member(cluster, assignor: assignor)
        #expect(turns([member]) { member.ends.count == 4 })
        let partition = KafkaPartition("records", 2)
        try member.consumer.move([partition: 7])
        #expect(turns([member]) { member.offsets[partition]?.count == 13 })
        #expect(member.offsets[partition] == Array(0..<10) + [7, 8, 9])
        // The group heard nothing, and the others go on where they were.
        #expect(Set(member.consumer.assignment) == partitions(4) && member.assignments.count == 1)
        for other in partitions(4) where other != partition {
            #expect(member.offsets[other] == Array(0..<10))
        }
        try member.consumer.pause(member.consumer.assignment)
        try fill(cluster, partitions: 4, count: 4)
        for _ in 0..<4 { member.step() }
        #expect(member.offsets[partition]?.count == 13)
        try member.consumer.resume(member.consumer.assignment)
        #expect(turns([member]) { member.offsets[partition]?.count == 14 })
        #expect(
            member.consumer.cachedWatermarks(partition) == KafkaWatermarks(low: 0, high: 11)
        )
        let asked = try member.consumer.watermarks(partition, timeout: .seconds(10))
        #expect(asked == KafkaWatermarks(low: 0, high: 11))
    }

    @Test("errors of every kind of request pass, and nothing is missing")
    func requestErrors() throws {
        let codes: [MockRequest: [Int32]] = [
            .fetch: [6, 3, -195, 1], .listOffsets: [6, 5], .metadata: [5, -195],
            .findCoordinator: [15, 15], .joinGroup: [14, 16], .syncGroup: [14],
            .heartbeat: [27, 14, 16], .initProducerID: [],
        ]
        // A cluster for each kind, because joining takes its time.
        var clusters: [MockCluster] = []
        var members: [Member] = []
        var requests: [MockRequest] = []
        for (request, codes) in codes {
            let cluster = try makeCluster()
            cluster.fail(request, with: codes)
            clusters.append(cluster)
            requests.append(request)
            members.append(try Member(cluster) { $0.client["retry.backoff.ms"] = "10" })
        }
        #expect(
            turns(members) {
                members.allSatisfy { $0.ends.count == 4 && $0.assigned == partitions(4) }
            }
        )
        for (request, member) in zip(requests, members) {
            for partition in partitions(4) {
                let offsets = member.offsets[partition]?.suffix(10)
                #expect(offsets == ArraySlice(0..<10), "\(request)")
            }
            #expect(!member.errors.contains { $0.isFatal })
        }
    }

    @Test("brokers that come and go delay messages, and none is missing")
    func down() throws {
        let cluster = try makeCluster()
        let member = try Member(cluster) { $0.client["reconnect.backoff.max.ms"] = "100" }
        #expect(turns([member]) { member.ends.count == 4 })
        try cluster.takeDown(broker: 1)
        #expect(turns([member]) { member.errors.contains { $0.isRetriable } })
        try cluster.bringUp(broker: 1)
        try fill(cluster, partitions: 4, count: 40)
        #expect(turns([member]) { member.offsets.values.allSatisfy { $0.last == 19 } })
    }

    @Test("commits reach the group; a commit that fails is reported")
    func commit() throws {
        let cluster = try makeCluster()
        let member = try Member(cluster) { $0.statisticsInterval = .milliseconds(50) }
        #expect(turns([member]) { member.ends.count == 4 })
        let partition = KafkaPartition("records", 1)
        try member.consumer.commit([partition: 4])
        #expect(turns([member]) { member.statistics.last?.lag == [partition: 6] })
        #expect(member.statistics.last?.messagesReceived == 40)
        cluster.fail(.offsetCommit, with: [12])
        try member.consumer.commit([partition: 5])
        #expect(turns([member]) { !member.errors.isEmpty })
        #expect(member.errors.first?.name == "OFFSET_METADATA_TOO_LARGE")
        #expect(member.errors.first?.call == "rd_kafka_commit_queue")
    }

    @Test("a wait ends when woken, closing does not need the brokers, a closed member refuses")
    func close() throws {
        let cluster = try makeCluster()
        let member = try Member(cluster)
        #expect(turns([member]) { member.ends.count == 4 })
        member.consumer.waker.wake()
        let clock = ContinuousClock()
        #expect(clock.measure { member.step(60_000) } < .seconds(30))
        try cluster.takeDown(broker: 1)
        #expect(clock.measure { member.consumer.close(timeout: .seconds(2)) } < .seconds(20))
        member.consumer.waker.wake()
        let error = #expect(throws: KafkaError.self) { try member.consumer.subscribe(["records"]) }
        #expect(error?.name == "_DESTROY")
        #expect(member.consumer.poll(timeout: .seconds(60), countMax: 1) { _ in } == 0)
    }
}
