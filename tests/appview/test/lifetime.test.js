// Imports that run while the server is stopped, killed or asked again: with the suite for production, so that hashing
// takes its time.

import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { HTTP_VERSIONS, callRolodexClient, refused, rolodexClient } from '../lib/appview.js'
import { Person, number } from '../lib/people.js'
import { Server, until, within } from '../lib/server.js'

const PATIENCE_MS = 60_000
/** A second or more on one thread. */
const CONTACTS = 80

const answers = (port) =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(true) || socket.destroy())
    socket.on('error', () => resolve(false))
  })

for (const version of HTTP_VERSIONS) {
  describe(`an import that runs, over HTTP/${version}`, () => {
    let server, alice, bob, book

    // Bob is the last of the contacts in Alice's book, and has her number in his.
    const begin = async (env = {}) => {
      server = await Server.start({
        suite: 'standard',
        env: { ACQUAINT_POOL__THREADS: '1', ACQUAINT_VERIFICATION__RESEND_S: '0', ...env },
      })
      const client = rolodexClient(server, version)
      ;[alice, bob] = [new Person(server, client), new Person(server, client)]
      await bob.brings([alice.phone])
    }
    const reconnect = () => {
      const client = rolodexClient(server, version)
      ;[alice, bob] = [alice.via(client), bob.via(client)]
    }
    const accepted = () => until(PATIENCE_MS, 'the import is accepted', () => alice.status())

    beforeEach(() => {
      server = undefined
      book = Array.from({ length: CONTACTS }, number)
    })
    afterEach(() => server?.end())

    it('is answered after SIGTERM, while nobody new is let in, and the process ends well', async () => {
      await begin({ ACQUAINT_IMPORT__DEADLINE_MS: '25000', ACQUAINT_HTTP__DRAIN_S: '30' })
      const token = await alice.token()
      let answered = false
      const importing = callRolodexClient(alice.import(token, [...book, bob.phone])).finally(() => (answered = true))
      importing.catch(() => {})
      await accepted()
      assert.ok(!answered, 'the import was over too soon for this test')
      const stopping = server.stop()
      await until(PATIENCE_MS, 'the port closes', async () => !(await answers(server.port)))
      assert.ok(!answered, 'the import was over too soon for this test')
      const { matches } = await within(PATIENCE_MS, 'no answer', importing)
      assert.deepEqual(matches.map(({ inputIndex, subject }) => [inputIndex, subject]), [[CONTACTS, bob.actor]])
      await stopping

      await server.run()
      reconnect()
      assert.deepEqual(await alice.matches(), [bob.actor])
      await refused(alice.import(token, [bob.phone]), 'INVALID_TOKEN')
    })

    it('is answered at the deadline, and goes on after a stop in between', async () => {
      await begin({ ACQUAINT_IMPORT__DEADLINE_MS: '300' })
      const began = Date.now()
      assert.deepEqual(await alice.brings([...book, bob.phone]), [])
      assert.ok(Date.now() - began < 5_000)
      assert.deepEqual(await alice.matches(), [])
      await server.stop()
      await server.run()
      reconnect()
      await until(PATIENCE_MS, 'the match arrives', async () => (await alice.matches()).length === 1)
      assert.deepEqual(await alice.matches(), [bob.actor])
      assert.deepEqual(await bob.matches(), [alice.actor])
      assert.equal((await alice.status()).matchesCount, 1)
    })

    it('survives a crash', async () => {
      await begin()
      const importing = alice.import(await alice.token(), [...book, bob.phone])
      const lost = assert.rejects(importing)
      await accepted()
      await server.kill()
      await lost
      await server.run()
      reconnect()
      await until(PATIENCE_MS, 'the match arrives', async () => (await alice.matches()).length === 1)
      assert.deepEqual(await bob.matches(), [alice.actor])
    })

    it('keeps a second one out, and leaves that one its token', async () => {
      await begin({ ACQUAINT_IMPORT__DEADLINE_MS: '300' })
      const second = await alice.token()
      await alice.brings([...book, bob.phone])
      await refused(alice.import(second, [bob.phone]), 'RATE_LIMIT_EXCEEDED')
      await until(PATIENCE_MS, 'the match arrives', async () => (await alice.matches()).length === 1)
      const again = async () => {
        try {
          return await alice.brings([bob.phone], second)
        } catch (error) {
          assert.equal(error.payload?.error, 'RateLimitExceeded')
        }
      }
      assert.deepEqual(await until(PATIENCE_MS, 'the token is taken', again), [[0, bob.actor]])
    })

    it('ends with the removal of the account', async () => {
      await begin({ ACQUAINT_IMPORT__DEADLINE_MS: '300' })
      await alice.brings([...book, bob.phone])
      await alice.client.removeData({ actor: alice.actor })
      assert.deepEqual(await alice.state(), { status: undefined, matches: [] })
      // Whatever was still in the pool is through by the time that another import is.
      const carol = new Person(server, alice.client)
      await carol.brings([number()])
      assert.deepEqual(await alice.state(), { status: undefined, matches: [] })
      assert.deepEqual(await bob.matches(), [])
    })
  })
}
