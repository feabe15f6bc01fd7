// The wire, without the AppView's client: both codecs, both HTTP versions, and what other callers may send.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { gunzipSync, gzipSync } from 'node:zlib'
import { HTTP_VERSIONS, rolodexClient } from '../lib/appview.js'
import { Person, did, number } from '../lib/people.js'
import { leave, message, proto, refusedAs, send, sendJson, sendProto } from '../lib/raw.js'
import { Server } from '../lib/server.js'

describe('the wire', () => {
  let server
  before(async () => {
    server = await Server.start({ env: { ACQUAINT_VERIFICATION__RESEND_S: '0' } })
  })
  after(() => server?.end())

  for (const version of HTTP_VERSIONS) {
    describe(`over HTTP/${version}`, () => {
      const json = (method, body, options) => sendJson(server, method, body, { version, ...options })
      const binary = (method, body, options) => sendProto(server, method, body, { version, ...options })

      it('speaks JSON in all eight methods', async () => {
        const people = [1, 2].map(() => ({ actor: did(), phone: number() }))
        const [alice, bob] = people
        assert.deepEqual(message(await json('Ping', {})), {})
        for (const person of people) {
          const { actor, phone } = person
          assert.deepEqual(message(await json('GetSyncStatus', { actor })), {})
          assert.deepEqual(message(await json('StartPhoneVerification', { actor, phone })), {})
          const verificationCode = server.code(phone)
          const { token } = message(await json('VerifyPhone', { actor, phone, verificationCode }))
          const contacts = ['garbage', alice.phone, bob.phone]
          const imported = message(await json('ImportContacts', { actor, token, contacts }))
          const matches = [{ inputIndex: 1, subject: alice.actor }]
          assert.deepEqual(imported, person === bob ? { matches } : {})
        }
        const { actor } = alice
        assert.deepEqual(message(await json('GetMatches', { actor, limit: 1 })), { subjects: [bob.actor] })
        const { status } = message(await json('GetSyncStatus', { actor }))
        assert.equal(status.matchesCount, 1)
        assert.ok(Math.abs(Date.parse(status.syncedAt) - Date.now()) < 60_000)
        assert.deepEqual(message(await json('DismissMatch', { actor, subject: bob.actor })), {})
        const removed = message(await json('RemoveData', { actor: bob.actor }))
        assert.deepEqual(removed, { contactsCount: 1, matchesCount: 1 })
      })

      it('takes a body of no bytes as the empty message', async () => {
        for (const headers of [{}, { 'content-length': '0' }]) {
          const { status, headers: given, body } = await binary('Ping', [], { headers })
          assert.equal(status, 200)
          assert.equal(given['content-type'], 'application/proto')
          assert.equal(body.length, 0)
        }
        refusedAs(await binary('RemoveData', []), 'INVALID_DID')
      })

      it('does not insist on connect-protocol-version, nor mind a deadline', async () => {
        for (const headers of [{}, { 'connect-protocol-version': '1' }, { 'connect-timeout-ms': '5000' }]) {
          assert.equal((await binary('Ping', [], { headers })).status, 200)
        }
      })

      it('answers in the codec of the question, and errors as JSON', async () => {
        const actor = did()
        const { headers } = await binary('GetSyncStatus', proto([1, actor]))
        assert.equal(headers['content-type'], 'application/proto')
        refusedAs(await binary('GetSyncStatus', proto([1, 'nobody'])), 'INVALID_DID')
        refusedAs(await json('GetSyncStatus', { actor: 'nobody' }), 'INVALID_DID')
      })

      it('compresses no error, whatever the caller accepts', async () => {
        const headers = { 'accept-encoding': 'gzip,br' }
        refusedAs(await binary('GetSyncStatus', proto([1, 'nobody']), { headers }), 'INVALID_DID')
      })

      it('reads a compressed body, and sends one that the caller can read', async () => {
        const actor = did()
        const headers = { 'content-encoding': 'gzip', 'accept-encoding': 'gzip,br' }
        const zipped = gzipSync(proto([1, actor], [2, 50]))
        assert.equal((await binary('GetMatches', zipped, { headers })).status, 200)
        const answer = await json('GetMatches', gzipSync(JSON.stringify({ actor, limit: 50 })), { headers })
        const text = answer.headers['content-encoding'] === 'gzip' ? gunzipSync(answer.body) : answer.body
        assert.deepEqual(JSON.parse(text), {})
        refusedAs(await binary('GetMatches', gzipSync(proto([1, actor], [2, 101])), { headers }), 'INVALID_LIMIT')
      })

      it('blames nobody but the caller for what does not decompress', async () => {
        const headers = { 'content-encoding': 'gzip' }
        const zipped = gzipSync(proto([1, did()], [2, 50]))
        for (const bytes of [Buffer.from('no gzip'), zipped.subarray(0, 12), Buffer.alloc(0)]) {
          const { status } = await binary('GetMatches', bytes, { headers })
          assert.ok(status < 500, `status ${status}`)
        }
        const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024))
        refusedAs(await binary('ImportContacts', bomb, { headers }), 'TOO_MANY_CONTACTS', null)
      })

      it('reads a body in many small chunks', async () => {
        const bytes = proto([1, did()], [2, 50])
        const chunks = [...bytes].map((byte) => Buffer.from([byte]))
        assert.equal((await binary('GetMatches', chunks)).status, 200)
      })

      it('passes over fields that it does not know', async () => {
        const bytes = proto([1, did()], [2, 50], [99, 'new'], [100, 7])
        assert.equal((await binary('GetMatches', bytes)).status, 200)
      })

      it('refuses what is no method of the service', async () => {
        for (const method of ['Nothing', 'ping', '', 'Ping/', '/rolodex.Other/Ping', '/']) {
          const { status, body } = await binary(method, [])
          assert.ok(status === 404 || status === 501, `status ${status}`)
          assert.ok(!body.toString().includes('details'), body.toString())
        }
        for (const verb of ['GET', 'PUT', 'DELETE']) {
          const { status } = await binary('RemoveData', [], { method: verb })
          assert.ok(status >= 400 && status < 500, `status ${status}`)
        }
      })

      it('refuses codecs that it does not speak', async () => {
        for (const type of ['text/plain', 'application/x-www-form-urlencoded', undefined]) {
          const { status } = await binary('Ping', [], { headers: { 'content-type': type } })
          assert.equal(status, 415)
        }
      })

      it('refuses without the key, before it looks at anything else', async () => {
        const wrong = [undefined, '', 'Bearer', 'Bearer ', 'Bearer wrong', server.apiKey, `Basic ${server.apiKey}`]
        for (const authorization of wrong) {
          for (const body of [[], 'garbage', Buffer.alloc(50_000)]) {
            const answer = await binary('RemoveData', body, { headers: { authorization } })
            assert.equal(answer.status, 401)
            assert.equal(answer.headers['content-type'], 'application/json')
            const error = JSON.parse(answer.body)
            assert.equal(error.code, 'unauthenticated')
            assert.deepEqual(Object.keys(error).toSorted(), ['code', 'message'])
          }
        }
        const headers = { authorization: `bearer ${server.apiKey}` }
        assert.equal((await binary('Ping', [], { headers })).status, 200)
      })

      it('tells its health to everybody', async () => {
        for (const path of ['/healthz', '/readyz']) {
          const headers = { authorization: undefined, 'content-type': undefined }
          const { status, body } = await send(server, path, { version, method: 'GET', headers })
          assert.equal(status, 200)
          assert.match(body.toString(), /^(ok|ready)\n$/)
        }
      })

      const tooLarge = {
        GetSyncStatus: 'INVALID_DID',
        StartPhoneVerification: 'INVALID_PHONE',
        VerifyPhone: 'INVALID_CODE',
        ImportContacts: 'TOO_MANY_CONTACTS',
        GetMatches: 'INVALID_CURSOR',
        DismissMatch: 'INVALID_DID',
        RemoveData: 'INVALID_DID',
      }
      for (const [method, reason] of Object.entries(tooLarge)) {
        it(`gives ${reason} for a ${method} that is larger than the limit`, async () => {
          for (const size of [1.1, 2, 4]) {
            const bytes = proto([1, Buffer.alloc(size * 1024 * 1024, 'a')])
            refusedAs(await binary(method, bytes), reason, null)
          }
        })
      }

      it('survives a caller who leaves in the middle', async () => {
        for (let again = 0; again < 20; again += 1) await leave(server, 'ImportContacts', { version })
        assert.equal((await binary('Ping', [])).status, 200)
      })
    })
  }

  it('matches nobody twice: the raw caller and the AppView see the same', async () => {
    const client = rolodexClient(server, '2')
    const [alice, bob] = [new Person(server, client), new Person(server, client)]
    await alice.brings([bob.phone])
    await bob.brings([alice.phone])
    const seen = message(await sendJson(server, 'GetMatches', { actor: alice.actor, limit: 100 }))
    assert.deepEqual(seen.subjects, await alice.matches())
  })
})
