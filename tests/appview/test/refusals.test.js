// Every row of the contract's table of errors that concerns accounts, pages, lists and tokens, as the AppView sees it.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { Code, HTTP_VERSIONS, callRolodexClient, isRolodexError, refused, rolodexClient } from '../lib/appview.js'
import { Person, number } from '../lib/people.js'
import { Server, within } from '../lib/server.js'

const NOT_DIDS = {
  'an empty text': '',
  'a handle': 'alice.example.com',
  'a DID with a fragment': 'did:plc:ewvi7nxzyoun6zhxrhs64oiz#atproto_labeler',
  'a DID URL': 'did:web:example.com/path',
  'a DID without its method': 'did:plc:',
  'a DID in capitals': 'DID:PLC:ewvi7nxzyoun6zhxrhs64oiz',
  'a DID with a space': ' did:plc:ewvi7nxzyoun6zhxrhs64oiz',
  'more than 2 KB': `did:web:${'a'.repeat(2048)}`,
  'a text with control characters': 'did:plc:abc\u0000def',
}

for (const version of HTTP_VERSIONS) {
  describe(`refusals over HTTP/${version}`, () => {
    let server, client, alice, bob

    before(async () => {
      server = await Server.start({ env: { ACQUAINT_VERIFICATION__RESEND_S: '0' } })
      client = rolodexClient(server, version)
      ;[alice, bob] = [new Person(server, client), new Person(server, client)]
      await alice.brings([bob.phone])
      await bob.brings([alice.phone])
    })
    after(() => server?.end())

    describe('INVALID_DID', () => {
      for (const [what, actor] of Object.entries(NOT_DIDS)) {
        it(`for ${what}, in every method`, () =>
          alice.unchanged(async () => {
            const { phone } = alice
            const calls = [
              () => client.getSyncStatus({ actor }),
              () => client.startPhoneVerification({ actor, phone }),
              () => client.verifyPhone({ actor, phone, verificationCode: '123456' }),
              () => client.importContacts({ actor, token: 'token', contacts: [bob.phone] }),
              () => client.getMatches({ actor, limit: 50 }),
              () => client.dismissMatch({ actor, subject: bob.actor }),
              () => client.dismissMatch({ actor: alice.actor, subject: actor }),
              () => client.removeData({ actor }),
            ]
            for (const call of calls) await refused(call(), 'INVALID_DID')
          }))
      }

      it('not for the longest DID', async () => {
        const actor = `did:web:${'a'.repeat(2040)}`
        assert.equal((await client.getSyncStatus({ actor })).status, undefined)
      })
    })

    describe('INVALID_LIMIT', () => {
      for (const limit of [0, -1, 101, 2 ** 31 - 1, -(2 ** 31)]) {
        it(`for ${limit}`, () => alice.unchanged(() => refused(alice.page(limit), 'INVALID_LIMIT')))
      }

      it('not for 1 and 100', async () => {
        for (const limit of [1, 100]) assert.deepEqual((await alice.page(limit)).subjects, [bob.actor])
      })
    })

    describe('INVALID_CURSOR', () => {
      it('for garbage', () =>
        alice.unchanged(async () => {
          for (const cursor of ['garbage', '0', 'AAAA', ' ', 'é', 'A'.repeat(10_000)]) {
            await refused(alice.page(50, cursor), 'INVALID_CURSOR')
          }
        }))

      it("for another account's and for one that was altered", async () => {
        const carol = new Person(server, client)
        await bob.brings([alice.phone, carol.phone])
        await carol.brings([bob.phone])
        const { cursor } = await bob.page(1)
        assert.ok(cursor)
        await alice.unchanged(() => refused(alice.page(1, cursor), 'INVALID_CURSOR'))
        const altered = (cursor[0] === 'A' ? 'B' : 'A') + cursor.slice(1)
        for (const text of [altered, cursor.slice(0, -4), `${cursor}AAAA`]) {
          await bob.unchanged(() => refused(bob.page(1, text), 'INVALID_CURSOR'))
        }
        assert.equal((await bob.page(1, cursor)).subjects.length, 1)
      })

      it("for the token of an import, and no cursor is a token", async () => {
        const token = await alice.token()
        await refused(alice.page(1, token), 'INVALID_CURSOR')
        const { cursor } = await bob.page(1)
        await refused(bob.import(cursor, [alice.phone]), 'INVALID_TOKEN')
      })
    })

    describe('INVALID_CONTACTS and TOO_MANY_CONTACTS', () => {
      it('for an empty list and for 1001, which do not burn the token', async () => {
        const token = await alice.token()
        await alice.unchanged(async () => {
          await refused(alice.import(token, []), 'INVALID_CONTACTS')
          await refused(alice.import(token, Array(1001).fill(bob.phone)), 'TOO_MANY_CONTACTS')
          await refused(alice.import(token, Array(1001).fill('')), 'TOO_MANY_CONTACTS')
          await refused(alice.import(token, Array(50_000).fill('garbage')), 'TOO_MANY_CONTACTS')
        })
        const thousand = [...Array(999).fill('garbage'), bob.phone]
        assert.deepEqual(await alice.brings(thousand, token), [[999, bob.actor]])
      })

      it('for a list that is larger than a request may be, whose connection stays good', async () => {
        const token = await alice.token()
        const sender = alice.via(rolodexClient(server, version))
        await alice.unchanged(async () => {
          for (const kibibytes of [1100, 2000, 4000]) {
            const list = Array(kibibytes).fill('+'.repeat(1024))
            // More than once: an answer that races the rest of the request is not lost every time.
            for (let again = 0; again < 5; again += 1) {
              await refusedForSize(sender.import(token, list))
              await sender.status()
            }
          }
        })
        assert.deepEqual(await alice.brings([bob.phone], token), [[0, bob.actor]])
      })

      it('not for a thousand full numbers', async () => {
        const contacts = Array.from({ length: 1000 }, (_, index) => `+1808555${String(index).padStart(4, '0')}`)
        contacts[500] = bob.phone
        assert.deepEqual(await alice.brings(contacts), [[500, bob.actor]])
      })
    })

    describe('INVALID_TOKEN', () => {
      it('for what is no token', () =>
        alice.unchanged(async () => {
          for (const token of ['', 'garbage', 'A'.repeat(200), 'A'.repeat(100_000), '\u0000', 'ü']) {
            await refused(alice.import(token, [bob.phone]), 'INVALID_TOKEN')
          }
        }))

      it("for another account's, which stays good for that one", async () => {
        const token = await bob.token()
        const second = new Person(server, client, { phone: bob.phone })
        await second.unchanged(() => refused(second.import(token, [alice.phone]), 'INVALID_TOKEN'))
        await alice.unchanged(() => refused(alice.import(token, [bob.phone]), 'INVALID_TOKEN'))
        assert.deepEqual(await bob.brings([alice.phone], token), [[0, alice.actor]])
      })

      it('for one that was used', async () => {
        const token = await alice.token()
        await alice.brings([bob.phone], token)
        await alice.unchanged(() => refused(alice.import(token, [bob.phone]), 'INVALID_TOKEN'))
        await alice.unchanged(() => refused(alice.import(token, [number()]), 'INVALID_TOKEN'))
      })

      it('for one that was altered', async () => {
        const token = await bob.token()
        await bob.unchanged(async () => {
          for (const place of [0, 40, token.length - 2]) {
            const other = token[place] === 'A' ? 'B' : 'A'
            const altered = token.slice(0, place) + other + token.slice(place + 1)
            await refused(bob.import(altered, [alice.phone]), 'INVALID_TOKEN')
          }
        })
        assert.deepEqual(await bob.brings([alice.phone], token), [[0, alice.actor]])
      })

      it('for all but one of the imports that use a token at once', async () => {
        const carol = new Person(server, client)
        const token = await carol.token()
        const contacts = [alice.phone]
        const calls = Array.from({ length: 8 }, () => callRolodexClient(carol.import(token, contacts)))
        const outcomes = await Promise.allSettled(calls)
        const accepted = outcomes.filter(({ status }) => status === 'fulfilled')
        assert.equal(accepted.length, 1)
        for (const { reason } of outcomes.filter(({ status }) => status === 'rejected')) {
          assert.equal(reason.payload.error, 'InvalidToken')
        }
      })
    })

    describe('the bearer key', () => {
      it('is needed, and nothing is told without it', async () => {
        for (const key of [undefined, 'wrong', `${server.apiKey}0`, server.apiKey.slice(0, -1)]) {
          const stranger = rolodexClient(server, version, key ?? null)
          for (const call of [() => stranger.ping({}), () => stranger.removeData({ actor: alice.actor })]) {
            const error = await callRolodexClient(call()).then(() => assert.fail('it was accepted'), (error) => error)
            assert.ok(isRolodexError(error, Code.Unauthenticated), String(error))
            assert.deepEqual(error.details, [])
          }
        }
        assert.deepEqual(await alice.matches(), [bob.actor])
      })
    })
  })
}

/** As for 1001 contacts; `refused` checks the Connect code as well, which may differ here. */
async function refusedForSize(call) {
  const answer = callRolodexClient(call).then(() => assert.fail('it was accepted'), (error) => error)
  const error = await within(10_000, 'no answer', answer)
  assert.equal(error.payload?.error, 'TooManyContacts', String(error))
  assert.equal(error.statusCode, 400)
}
