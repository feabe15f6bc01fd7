// All eight methods along the way that a person takes, over both HTTP versions.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { HTTP_VERSIONS, appviewHandlers, refused, rolodexClient } from '../lib/appview.js'
import { Person } from '../lib/people.js'
import { Server } from '../lib/server.js'

for (const version of HTTP_VERSIONS) {
  describe(`the journey over HTTP/${version}`, () => {
    let server, client, alice, bob, carol

    before(async () => {
      server = await Server.start({ env: { ACQUAINT_VERIFICATION__RESEND_S: '0' } })
      client = rolodexClient(server, version)
      ;[alice, bob, carol] = [1, 2, 3].map(() => new Person(server, client))
    })
    after(() => server?.end())

    it('answers a ping', async () => {
      assert.deepEqual((await client.ping({})).toJson(), {})
    })

    it('has no status, no matches and nothing to remove of somebody unknown', async () => {
      assert.deepEqual(await alice.state(), { status: undefined, matches: [] })
      assert.deepEqual((await client.removeData({ actor: alice.actor })).toJson(), {})
      assert.deepEqual((await client.dismissMatch({ actor: alice.actor, subject: bob.actor })).toJson(), {})
      assert.equal(await alice.status(), undefined)
    })

    it('sends six digits, which verify once', async () => {
      await alice.start()
      const code = server.code(alice.phone)
      assert.match(code, /^\d{6}$/)
      assert.ok((await alice.guess(code)).token)
      await refused(alice.guess(code), 'INVALID_CODE')
      assert.equal(await alice.status(), undefined)
    })

    it('matches nobody who has not imported', async () => {
      const began = Date.now()
      const book = ['not a number', bob.phone, alice.phone, '', carol.phone, bob.phone]
      assert.deepEqual(await alice.brings(book), [])
      const { syncedAt, matchesCount } = await alice.status()
      assert.equal(matchesCount, 0)
      assert.ok(Math.abs(syncedAt.toDate().getTime() - began) < 60_000)
      assert.deepEqual(await alice.matches(), [])
      assert.deepEqual(await bob.state(), { status: undefined, matches: [] })
    })

    it('counts positions in the list as sent', async () => {
      const spaced = bob.phone.replace(/^\+1(...)(...)(....)$/, '+1 ($1) $2-$3')
      // Garbage, the own number in two forms, an empty text, a stranger; then alice, twice.
      const book = ['@@@', bob.phone, spaced, '', '+1', new Person(server, client).phone, alice.phone, alice.phone]
      assert.deepEqual(await bob.brings(book), [[6, alice.actor]])
      assert.deepEqual(await bob.matches(), [alice.actor])
      assert.equal((await bob.status()).matchesCount, 1)
    })

    it('shows the match on the other side, too', async () => {
      const { subjects, cursor } = await alice.page(50)
      assert.deepEqual(subjects, [bob.actor])
      assert.equal(cursor, '')
      assert.equal((await alice.status()).matchesCount, 1)
    })

    it('tells a stranger who has the number nothing', async () => {
      const stranger = new Person(server, client)
      assert.deepEqual(await stranger.brings([alice.phone, bob.phone]), [])
      assert.deepEqual(await alice.matches(), [bob.actor])
      assert.equal((await stranger.status()).matchesCount, 0)
    })

    it('reports several matches at their positions', async () => {
      assert.deepEqual(await carol.brings([bob.phone, 'x', alice.phone]), [[2, alice.actor]])
      assert.deepEqual(await bob.brings([carol.phone, alice.phone]), [
        [0, carol.actor],
        [1, alice.actor],
      ])
      assert.deepEqual((await bob.matches()).toSorted(), [alice.actor, carol.actor].toSorted())
    })

    it('hides a dismissed match for good, on one side', async () => {
      const dismiss = (subject) => client.dismissMatch({ actor: alice.actor, subject })
      assert.equal((await dismiss(bob.actor)).matchesCount, 1)
      assert.equal((await dismiss(bob.actor)).matchesCount, 1)
      assert.deepEqual(await alice.matches(), [carol.actor])
      assert.equal((await alice.status()).matchesCount, 1)
      assert.ok((await bob.matches()).includes(alice.actor))
      assert.equal((await bob.status()).matchesCount, 2)

      assert.deepEqual(await alice.brings([bob.phone, carol.phone]), [[1, carol.actor]])
      await bob.brings([alice.phone, carol.phone])
      assert.deepEqual(await alice.matches(), [carol.actor])
      assert.equal((await alice.status()).matchesCount, 1)
    })

    it('dismisses nobody by a subject that is not matched', async () => {
      const stranger = new Person(server, client)
      const { matchesCount } = await client.dismissMatch({ actor: bob.actor, subject: stranger.actor })
      assert.equal(matchesCount, 2)
    })

    it('takes an import of nothing but garbage', async () => {
      const dave = new Person(server, client)
      assert.deepEqual(await dave.brings(['garbage', dave.phone, '']), [])
      assert.equal((await dave.status()).matchesCount, 0)
    })

    it('lets two accounts verify one number', async () => {
      const second = new Person(server, client, { phone: carol.phone })
      assert.ok(await second.token())
      assert.ok(await carol.token())
    })

    it('removes everything of an account, and only of that one', async () => {
      const token = await bob.token()
      const removed = await client.removeData({ actor: bob.actor })
      // Alice, Carol and the stranger; garbage, repetitions and the own number are not stored.
      assert.deepEqual(removed.toJson(), { contactsCount: 3, matchesCount: 2 })
      assert.deepEqual(await bob.state(), { status: undefined, matches: [] })
      assert.deepEqual(await carol.matches(), [alice.actor])
      assert.deepEqual(await alice.matches(), [carol.actor])
      assert.deepEqual((await client.removeData({ actor: bob.actor })).toJson(), {})
      // What was verified before is removed, too.
      await refused(bob.import(token, [alice.phone]), 'INVALID_TOKEN')
      assert.equal(await bob.status(), undefined)
    })

    it('begins afresh after a removal', async () => {
      const [erin, frank] = [new Person(server, client), new Person(server, client)]
      await erin.brings([frank.phone])
      await client.removeData({ actor: erin.actor })
      assert.deepEqual(await frank.brings([erin.phone]), [])
      assert.deepEqual(await erin.brings([frank.phone]), [[0, frank.actor]])
    })
  })

  describe(`the AppView's own handlers over HTTP/${version}`, () => {
    let server

    before(async () => {
      server = await Server.start()
    })
    after(() => server?.end())

    it('serve the public API along the whole way', async () => {
      const client = rolodexClient(server, version)
      const api = await appviewHandlers(client)
      const [alice, bob] = [new Person(server, client), new Person(server, client)]
      for (const person of [alice, bob]) {
        assert.deepEqual(await api.getSyncStatus(person.actor), { syncStatus: undefined })
        assert.deepEqual(await api.startPhoneVerification(person.actor, { phone: person.phone }), {})
        const body = { phone: person.phone, code: server.code(person.phone) }
        const { token } = await api.verifyPhone(person.actor, body)
        const contacts = ['garbage', alice.phone, bob.phone]
        const imported = await api.importContacts(person.actor, { token, contacts })
        const expected = person === bob ? [{ contactIndex: 1, match: { did: alice.actor } }] : []
        assert.deepEqual(imported, { matchesAndContactIndexes: expected })
      }
      assert.deepEqual(await api.getMatches(alice.actor, { limit: 50 }), {
        matches: [{ did: bob.actor }],
        cursor: undefined,
      })
      const { syncStatus } = await api.getSyncStatus(alice.actor)
      assert.equal(syncStatus.matchesCount, 1)
      assert.match(syncStatus.syncedAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
      assert.deepEqual(await api.dismissMatch(alice.actor, { subject: bob.actor }), {})
      assert.deepEqual((await api.getMatches(alice.actor, { limit: 50 })).matches, [])
      assert.deepEqual(await api.removeData(bob.actor), {})
      assert.deepEqual(await api.getSyncStatus(bob.actor), { syncStatus: undefined })
    })
  })
}
