// Looks at a pool with npm's xen-api as Xen Orchestra looks for replicas: what it finds of them goes
// to stdout as one line of JSON. Then it tries to start each, and starts a clone of the last point.
import { createClient } from 'xen-api'

const { url, user, password, job, vm } = JSON.parse(process.argv[2])

const xapi = createClient({ allowUnauthorized: true, auth: { user, password }, url })
await xapi.connect()
await xapi.objectsFetched
const all = Object.values(xapi.objects.all)

const marked = ({ other_config: config }) =>
  config['xo:backup:job'] === job && config['xo:backup:vm'] === vm && 'xo:backup:sr' in config
const points = all
  .filter(object => object.$type === 'VM' && object.is_a_snapshot && marked(object))
  .sort((a, b) => (a.other_config['xo:backup:datetime'] < b.other_config['xo:backup:datetime'] ? -1 : 1))
const disks = all.filter(object => object.$type === 'VDI' && object.is_a_snapshot && marked(object))

const facts = {
  points: points.map(point => ({
    datetime: point.other_config['xo:backup:datetime'],
    name: point.name_label,
    of: point.$snapshot_of.uuid,
  })),
  sources: disks.map(disk => disk.other_config['xo:copy_of']),
  contents: disks.map(disk => disk.other_config['xo:backup:contentKey']),
  live: [...new Set(points.map(point => point.snapshot_of))].map(ref => {
    const live = xapi.getObject(ref)
    return { name: live.name_label, marked: marked(live), tags: live.tags }
  }),
  start: [],
}
for (const ref of new Set(points.map(point => point.snapshot_of))) {
  facts.start.push(
    await xapi.callAsync('VM.start', ref, false, false).then(
      () => 'started',
      error => [error.code, error.params[1]]
    )
  )
}
const clone = await xapi.callAsync('VM.clone', points.at(-1).$ref, 'drill')
await xapi.callAsync('VM.start', clone, false, false)
facts.drill = await xapi.getField('VM', clone, 'power_state')
console.log(JSON.stringify(facts))
await xapi.disconnect()
