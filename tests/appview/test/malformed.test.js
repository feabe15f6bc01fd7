// Messages that cannot be read: the reason is that of the field at fault, and nothing is the server's fault.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { rolodexClient } from '../lib/appview.js'
import { Person } from '../lib/people.js'
import { proto, refusedAs, sendJson, sendProto } from '../lib/raw.js'
import { Server } from '../lib/server.js'

const ACTOR = 'did:plc:ewvi7nxzyoun6zhxrhs64oiz'
const NOT_UTF8 = Buffer.from([0x61, 0xff, 0xfe])

/** Method, then each field after the actor: number, JSON name, reason, and something of the wrong kind. */
const FIELDS = [
  ['StartPhoneVerification', 2, 'phone', 'INVALID_PHONE', 12125550101],
  ['VerifyPhone', 2, 'phone', 'INVALID_PHONE', {}],
  ['VerifyPhone', 3, 'verificationCode', 'INVALID_CODE', 123456],
  ['VerifyPhone', 3, 'verification_code', 'INVALID_CODE', 123456],
  ['ImportContacts', 2, 'token', 'INVALID_TOKEN', true],
  ['ImportContacts', 3, 'contacts', 'INVALID_CONTACTS', 'text'],
  ['ImportContacts', 3, 'contacts', 'INVALID_CONTACTS', [12125550101]],
  ['ImportContacts', 3, 'contacts', 'INVALID_CONTACTS', ['+12125550101', null]],
  ['ImportContacts', 3, 'contacts', 'INVALID_CONTACTS', { 0: '+12125550101' }],
  ['GetMatches', 2, 'limit', 'INVALID_LIMIT', 'many'],
  ['GetMatches', 2, 'limit', 'INVALID_LIMIT', 1.5],
  ['GetMatches', 2, 'limit', 'INVALID_LIMIT', 2 ** 40],
  ['GetMatches', 2, 'limit', 'INVALID_LIMIT', [1]],
  ['GetMatches', 3, 'cursor', 'INVALID_CURSOR', 7],
  ['DismissMatch', 2, 'subject', 'INVALID_DID', []],
]
const METHODS = [
  'GetSyncStatus',
  'StartPhoneVerification',
  'VerifyPhone',
  'ImportContacts',
  'GetMatches',
  'DismissMatch',
  'RemoveData',
]

/** Random bytes that are the same in every run (xorshift). */
function* randomBytes(seed) {
  let state = seed
  for (;;) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    yield state & 0xff
  }
}

describe('malformed messages', () => {
  let server, alice, bob

  before(async () => {
    server = await Server.start()
    const client = rolodexClient(server, '2')
    ;[alice, bob] = [new Person(server, client), new Person(server, client)]
    await alice.brings([bob.phone])
    await bob.brings([alice.phone])
  })
  after(() => server?.end())

  for (const method of METHODS) {
    it(`${method}: an actor that is missing or no text is INVALID_DID`, async () => {
      const bodies = ['{}', '{"actor":null}', '{"actor":""}', '{"actor":5}', '{"actor":["x"]}', '{"actor":{}}']
      for (const body of bodies) refusedAs(await sendJson(server, method, body), 'INVALID_DID')
      const invalid = Buffer.concat([Buffer.from('{"actor":"'), NOT_UTF8, Buffer.from('"}')])
      refusedAs(await sendJson(server, method, invalid), 'INVALID_DID')
      for (const bytes of [proto(), proto([1, '']), proto([1, 5]), proto([1, NOT_UTF8])]) {
        refusedAs(await sendProto(server, method, bytes), 'INVALID_DID')
      }
    })

    it(`${method}: what is no message is the caller's fault`, async () => {
      const texts = ['', 'garbage', '[]', 'null', '5', '"text"', '{', '{"actor":', '{}{}', `{"actor":"${ACTOR}"`]
      for (const text of texts) refusedAs(await sendJson(server, method, text))
      const deep = '['.repeat(100_000)
      refusedAs(await sendJson(server, method, `{"actor":${deep}`))
      const cut = proto([1, ACTOR]).subarray(0, 10)
      for (const bytes of [cut, Buffer.alloc(20, 0xff), Buffer.alloc(20), Buffer.from([0x0b, 0x0b, 0x0b])]) {
        refusedAs(await sendProto(server, method, bytes))
      }
    })

    it(`${method}: random bytes are the caller's fault`, async () => {
      const bytes = randomBytes(method.length * 7919)
      for (let round = 0; round < 60; round += 1) {
        const length = bytes.next().value
        const body = Buffer.from(Array.from({ length }, () => bytes.next().value))
        // As they are, and behind a good actor.
        for (const start of [proto(), proto([1, ACTOR])]) {
          const answer = await sendProto(server, method, Buffer.concat([start, body]))
          if (answer.status !== 200) refusedAs(answer, undefined, null)
        }
        const answer = await sendJson(server, method, body)
        refusedAs(answer, undefined, null)
      }
    })
  }

  for (const [method, number, name, reason, wrong] of FIELDS) {
    it(`${method}: ${name} as ${JSON.stringify(wrong)} is ${reason}`, async () => {
      refusedAs(await sendJson(server, method, { actor: ACTOR, [name]: wrong }), reason)
      const start = Buffer.from(`{"actor":"${ACTOR}","${name}":`)
      const text = Buffer.concat([Buffer.from('"'), NOT_UTF8, Buffer.from('"')])
      const value = name === 'contacts' ? Buffer.concat([Buffer.from('['), text, Buffer.from(']')]) : text
      refusedAs(await sendJson(server, method, Buffer.concat([start, value, Buffer.from('}')])), reason)
      // As bytes: of the other wire type, and as text that is no UTF-8 where a text belongs.
      const other = name === 'limit' ? 'text' : 5
      refusedAs(await sendProto(server, method, proto([1, ACTOR], [number, other])), reason)
      if (name !== 'limit') {
        refusedAs(await sendProto(server, method, proto([1, ACTOR], [number, NOT_UTF8])), reason)
      }
      // Cut off within the field.
      const whole = proto([1, ACTOR], [number, 'abcdefgh'])
      refusedAs(await sendProto(server, method, whole.subarray(0, -3)), reason)
    })
  }

  it('changes nothing and breaks nothing', async () => {
    assert.deepEqual(await alice.matches(), [bob.actor])
    assert.deepEqual(await bob.matches(), [alice.actor])
    assert.doesNotMatch(server.ownLog, /ERROR|panic/)
  })
})
