// The rows of the table of errors that concern numbers, codes, limits and delivery.

import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { HTTP_VERSIONS, refused, rolodexClient } from '../lib/appview.js'
import { Person, number } from '../lib/people.js'
import { Server } from '../lib/server.js'

// Numbers for fiction where a country has them: Germany's and France's for film, Ofcom's for drama.
const NOT_MOBILE = {
  'a German landline': '+493023125001',
  'a French landline': '+33199000001',
  'a British landline': '+442079460123',
  'a British premium number': '+449098790123',
  'an American premium number': '+19002345678',
  'an American toll-free number': '+18005550123',
}
const NOT_NUMBERS = ['', ' ', 'garbage', '+', '+1', '2125550101', '+1212555010', '+99912345678', '1'.repeat(5000), '\u0000']
const GERMAN_MOBILE = '+491713920012'
const CANADIAN = '+14165550123'

/** The six digits after these. */
const otherThan = (code) => String((Number(code) + 1) % 1_000_000).padStart(6, '0')

for (const version of HTTP_VERSIONS) {
  describe(`verification over HTTP/${version}`, () => {
    const servers = []
    const withServer = async (env = {}) => {
      const server = await Server.start({ env })
      servers.push(server)
      const client = rolodexClient(server, version)
      return { server, client, person: (who) => new Person(server, client, who) }
    }
    after(async () => {
      for (const server of servers) await server.end()
    })

    describe('INVALID_PHONE', () => {
      let alice
      before(async () => {
        const { person } = await withServer()
        alice = person()
      })

      it('for what is no number', () =>
        alice.unchanged(async () => {
          for (const phone of NOT_NUMBERS) {
            await refused(alice.start(phone), 'INVALID_PHONE')
            await refused(alice.guess('123456', phone), 'INVALID_PHONE')
          }
        }))

      for (const [what, phone] of Object.entries(NOT_MOBILE)) {
        it(`for ${what}`, () =>
          alice.unchanged(async () => {
            const { rawMessage } = await refused(alice.start(phone), 'INVALID_PHONE')
            assert.match(rawMessage, /mobile number/)
            await refused(alice.guess('123456', phone), 'INVALID_PHONE')
          }))
      }

      it('costs nothing: a good number gets its code at once', async () => {
        assert.ok(await alice.token())
      })

      it('for a region that is not served', async () => {
        const { person } = await withServer({ ACQUAINT_VERIFICATION__REGIONS: 'US' })
        const bob = person()
        await bob.unchanged(async () => {
          for (const phone of [GERMAN_MOBILE, CANADIAN]) {
            const { rawMessage } = await refused(bob.start(phone), 'INVALID_PHONE')
            assert.match(rawMessage, /does not serve/)
            await refused(bob.guess('123456', phone), 'INVALID_PHONE')
          }
        })
        // Contacts may be from anywhere.
        assert.deepEqual(await bob.brings([GERMAN_MOBILE, CANADIAN]), [])
      })
    })

    describe('INVALID_CODE', () => {
      it('for every code but the one that was sent to this number for this account', async () => {
        const { server, person } = await withServer({ ACQUAINT_VERIFICATION__GUESSES: '20' })
        const [alice, bob] = [person(), person()]
        await alice.unchanged(async () => {
          await refused(alice.guess('123456'), 'INVALID_CODE')
          await alice.start()
          const code = server.code(alice.phone)
          await refused(alice.guess(otherThan(code)), 'INVALID_CODE')
          const noCodes = ['', '12345', '1234567', 'abcdef', ` ${code}`, `${code} `, '１２３４５６', '-12345', '0x1234']
          for (const text of noCodes) await refused(alice.guess(text), 'INVALID_CODE')
          await refused(alice.guess(code, bob.phone), 'INVALID_CODE')
          await refused(person({ phone: alice.phone }).guess(code), 'INVALID_CODE')
          assert.ok((await alice.guess(code)).token)
          await refused(alice.guess(code), 'INVALID_CODE')
        })
      })

      it('for the code before the last', async () => {
        const { server, person } = await withServer({ ACQUAINT_VERIFICATION__RESEND_S: '0' })
        const alice = person()
        await alice.start()
        const old = server.code(alice.phone)
        let code = old
        for (let tries = 0; code === old && tries < 3; tries += 1) {
          await alice.start()
          code = server.code(alice.phone)
        }
        await refused(alice.guess(old), 'INVALID_CODE')
        assert.ok((await alice.guess(code)).token)
      })
    })

    describe('RATE_LIMIT_EXCEEDED', () => {
      it('for a second code within half a minute, and the first stays good', async () => {
        const { server, person } = await withServer()
        const alice = person()
        await alice.start()
        const code = server.code(alice.phone)
        await refused(alice.start(), 'RATE_LIMIT_EXCEEDED')
        await refused(alice.start(number()), 'RATE_LIMIT_EXCEEDED')
        assert.equal(server.code(alice.phone), code)
        assert.ok((await alice.guess(code)).token)
      })

      it('for the right code after five wrong ones, and for the next code', async () => {
        const { server, person } = await withServer({ ACQUAINT_VERIFICATION__RESEND_S: '0' })
        const alice = person()
        await alice.unchanged(async () => {
          await alice.start()
          const code = server.code(alice.phone)
          for (let guess = 0; guess < 5; guess += 1) await refused(alice.guess(otherThan(code)), 'INVALID_CODE')
          await refused(alice.guess(code), 'RATE_LIMIT_EXCEEDED')
          await refused(alice.start(), 'RATE_LIMIT_EXCEEDED')
          await refused(alice.guess(code), 'RATE_LIMIT_EXCEEDED')
        })
      })

      it('for wrong guesses about one number, whoever guesses', async () => {
        const { server, person } = await withServer({ ACQUAINT_VERIFICATION__NUMBER_GUESSES_PER_DAY: '3' })
        const phone = number()
        for (let guess = 0; guess < 3; guess += 1) {
          const guesser = person({ phone })
          await guesser.start()
          await refused(guesser.guess(otherThan(server.code(phone))), 'INVALID_CODE')
        }
        const last = person({ phone })
        await last.start()
        await refused(last.guess(otherThan(server.code(phone))), 'RATE_LIMIT_EXCEEDED')
        assert.ok(await person().token())
      })

      it('for more codes a day than an account may have', async () => {
        const env = { ACQUAINT_VERIFICATION__RESEND_S: '0', ACQUAINT_VERIFICATION__ACCOUNT_CODES_PER_DAY: '2' }
        const { person } = await withServer(env)
        const alice = person()
        await alice.start()
        await alice.start(number())
        const { metadata } = await refused(alice.start(), 'RATE_LIMIT_EXCEEDED')
        // Two a day come back one in twelve hours.
        const seconds = Number(metadata.get('retry-after'))
        assert.ok(seconds > 11 * 3600 && seconds <= 12 * 3600, `retry-after: ${seconds}`)
        await person({ phone: alice.phone }).start()
      })

      it('for more codes a day than a number may have, whoever asks', async () => {
        const { person } = await withServer({ ACQUAINT_VERIFICATION__NUMBER_CODES_PER_DAY: '2' })
        const phone = number()
        await person({ phone }).start()
        await person({ phone }).start()
        const third = person({ phone })
        await third.unchanged(() => refused(third.start(), 'RATE_LIMIT_EXCEEDED'))
        await third.start(number())
      })

      it("for more contacts than an account's quota, which does not burn the token", async () => {
        const env = { ACQUAINT_VERIFICATION__RESEND_S: '0', ACQUAINT_IMPORT__ACCOUNT_PAIRS: '3' }
        const { person } = await withServer(env)
        const alice = person()
        const contacts = [number(), number(), number(), number()]
        const token = await alice.token()
        await alice.unchanged(() => refused(alice.import(token, contacts), 'RATE_LIMIT_EXCEEDED'))
        assert.deepEqual(await alice.brings(contacts.slice(0, 3), token), [])
        const again = await alice.token()
        await alice.unchanged(() => refused(alice.import(again, contacts.slice(3)), 'RATE_LIMIT_EXCEEDED'))
      })

      it("for more contacts than a number's quota, across accounts", async () => {
        const { person } = await withServer({ ACQUAINT_IMPORT__NUMBER_PAIRS: '3' })
        const phone = number()
        const [alice, second] = [person({ phone }), person({ phone })]
        await alice.brings([number(), number()])
        const token = await second.token()
        await second.unchanged(() => refused(second.import(token, [number(), number()]), 'RATE_LIMIT_EXCEEDED'))
        assert.deepEqual(await second.brings([number()], token), [])
      })
    })

    describe('INTERNAL_ERROR', () => {
      it('for a code that cannot be sent, which costs the person nothing', async () => {
        const { server, person } = await withServer({
          ACQUAINT_DELIVERY__OUTBOX_FILE: 'outbox',
          ACQUAINT_VERIFICATION__ACCOUNT_CODES_PER_DAY: '2',
        })
        mkdirSync(path.join(server.folder, 'outbox'))
        const alice = person()
        await alice.unchanged(async () => {
          for (let tries = 0; tries < 4; tries += 1) await refused(alice.start(), 'INTERNAL_ERROR')
          await refused(alice.guess('123456'), 'INVALID_CODE')
        })
      })
    })
  })
}
