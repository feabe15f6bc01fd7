// getMatches page by page, with more matches than the largest page holds.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { HTTP_VERSIONS, appviewHandlers, rolodexClient } from '../lib/appview.js'
import { Person } from '../lib/people.js'
import { Server } from '../lib/server.js'

const MATCHES = 105

describe('paging', () => {
  let server, hub, friends

  before(async () => {
    server = await Server.start()
    const client = rolodexClient(server, '2')
    hub = new Person(server, client)
    friends = Array.from({ length: MATCHES }, () => new Person(server, client))
    await Promise.all(friends.map((friend) => friend.brings([hub.phone])))
  })
  after(() => server?.end())

  it('reports every match of one import at its position', async () => {
    const found = await hub.brings(friends.map((friend) => friend.phone))
    assert.deepEqual(found, friends.map((friend, position) => [position, friend.actor]))
    assert.equal((await hub.status()).matchesCount, MATCHES)
  })

  for (const version of HTTP_VERSIONS) {
    // 1 is the least, 100 the most; 7, 21 and 35 leave no rest, so the last page is full and yet the last.
    for (const limit of [1, 2, 7, 21, 35, 50, 99, 100]) {
      it(`shows each match once with limit ${limit} over HTTP/${version}`, async () => {
        const person = hub.via(rolodexClient(server, version))
        const subjects = []
        const cursors = new Set()
        let cursor = ''
        do {
          const page = await person.page(limit, cursor)
          subjects.push(...page.subjects)
          const left = MATCHES - subjects.length
          assert.equal(page.cursor === '', left === 0, 'the cursor is empty on the last page and on no other')
          assert.ok(page.subjects.length === limit || left === 0, 'a page before the last is not full')
          assert.ok(page.subjects.length > 0, 'a page is empty')
          assert.ok(!cursors.has(page.cursor), 'a cursor is repeated')
          cursors.add(page.cursor)
          cursor = page.cursor
        } while (cursor)
        assert.deepEqual(subjects.toSorted(), friends.map((friend) => friend.actor).toSorted())
      })
    }

    it(`fills the AppView's pages over HTTP/${version}, whoever is hidden`, async () => {
      const shown = new Set(friends.filter((_, index) => index % 5 === 0).map((friend) => friend.actor))
      const api = await appviewHandlers(rolodexClient(server, version), (did) => !shown.has(did))
      const seen = []
      let cursor
      do {
        const page = await api.getMatches(hub.actor, { limit: 10, cursor })
        seen.push(...page.matches.map((match) => match.did))
        cursor = page.cursor
      } while (cursor)
      assert.deepEqual(seen.toSorted(), [...shown].toSorted())
    })
  }

  it('goes on after a dismissal of what stood at the cursor', async () => {
    const first = await hub.page(5)
    const last = first.subjects.at(-1)
    await hub.client.dismissMatch({ actor: hub.actor, subject: last })
    const rest = []
    let cursor = first.cursor
    while (cursor) {
      const page = await hub.page(100, cursor)
      rest.push(...page.subjects)
      cursor = page.cursor
    }
    assert.deepEqual([...first.subjects, ...rest].toSorted(), friends.map((friend) => friend.actor).toSorted())
  })
})
