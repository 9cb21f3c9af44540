"""Situations at work and in school: interview, laptop, leave, meetings, deadlines, courses."""

INTERVIEW = """
name: job_interview
register: service
names: none, formal
decider: B
topics: job interview | apply for a job | a job application | job offer
job: cook | bus driver | web designer | nurse | gardener | accountant | music teacher | translator
years: number 2 11
skill: speaks Spanish | can repair engines | likes working in a team | knows the software | has led a small group
pay: integer 17 44 1
start: date
choice: work full time = full time means work on every holiday | there is no desk left for a full-time person
choice: start with half days = half days come without insurance | the bus runs only twice on half days
choice: take the night shift = the night shift ends after the last train | the doctor forbids night work
choice: work from home = the internet at home is too slow | people at home do not get the bonus
choice: join the team in the north = the northern office closes next year | there are no apartments in the north
@open
A: [Please take a seat|Thank you for coming]<B>. [So you want to be a {job}?|You applied for a job as a {job}.]
B: Yes, I have {years} years of experience.
--
A: [Good morning|Welcome]<B>. Tell me [about yourself|something about your past].
B: I've [worked as|been] a {job} for {years} years.
--
B: [Good afternoon|Hello], I'm here [for|because of] the position as a {job}.
A: [Nice to meet you|Right on time]<B>. How long have you done this kind of work?
B: {years} years[|, at three places].
@skill*
A: What is your [greatest strength|best quality]?
B: I'm [somebody|a person] who {skill}.
--
B: [My last boss|My old team] will tell you that I'm somebody who {skill}.
A: [That's good to hear|We need people like that].
@pay*
B: [May I ask about the pay|What do you pay]?
A: {pay} dollars an hour[|, to begin with].
--
A: [The pay is|We offer] {pay} dollars an hour.
B: {pay}? [My neighbor gets less|I can live with that].
@find*?
A: Did you [find us easily|have trouble finding us]?
B: [Your map was very clear|I got lost only once].
@settle
A: [You could begin|We'd like you to start] on {start}.
B: [With pleasure|That's perfect].
--
B: When [would I start|is the first day]?
A: On {start}.
@setting
{A} interviews {B}, who wants a job as a {job} and has {years} years of experience.
{B} applies to {A} for work as a {job} after {years} years in that field.
{B} has been a {job} for {years} years and has a job interview with {A}.
@detail
The pay is {pay} dollars an hour. || {B} will earn {pay} dollars an hour.
{B} starts on {start}. || The first day is {start}.
@ask
Who applies for a job? = {B}
What job is it? = {job}
How many years of experience are there? = {years}
"""

LAPTOP = """
name: broken_laptop
register: work
names: first, first
decider: B
topics: broken laptop | computer trouble | laptop repair | technical support
cause: tea was spilled on it | it fell off the desk | the update failed | a child played with it | it got wet in the rain
symptom: the screen stays black | the keys are stuck | it turns off after a minute | it makes a loud noise | no program starts
files: the tax papers | the wedding photos | half a novel | the sales report | the vacation videos
price: dollars 45 380 5
ready: weekday
choice: replace the screen = a screen for this model is no longer sold | a new screen is dearer than a new machine
choice: buy a new one = the new models come out in a month | a new one is not in the budget
choice: install everything again = a new installation erases all files | the old disk cannot be read
choice: use an old desktop = the old desktop has no camera | the old desktop is terribly slow
choice: send it to the maker = the maker needs six weeks | the warranty ended last month
@open
B: [Hi|Hello]<A>, [can you look at my laptop?|something is wrong with my laptop.] {symptom}.
A: [What happened|How did that happen]<B>?
B: [It's my own fault|Don't laugh]: {cause}.
--
A: [Help desk, hello|Computer support], what can I do for you<B>?
B: My laptop is [dead|broken]. {cause}, and now {symptom}.
--
B: [I have a problem|I need help]<A>: {cause}, and [now|since then] {symptom}.
A: [Ouch|Oh no]<B>! Let me see that laptop.
@files*
A: [Is there anything important on it|Do you have a copy of your files]?
B: {files}[, and I have no copy|, nothing else].
--
B: I [really need|can't lose] {files}[|, please save them].
A: [I'll try|I'll do what I can].
@price*
B: [What will it cost|How much is it going to be]?
A: [About|Around] {price}.
--
A: [You'll have to pay|It will be] {price}.
B: {price}? [Last time it was free|That's okay].
@restart*?
A: Did you [restart it|turn it off and on]?
B: [Ten times|Of course I did].
@settle
A: [It will be ready|You can have it back] on {ready}.
B: [{ready}, good|Great].
@setting
{B} asks {A} for help with a laptop: {symptom} because {cause}.
The laptop of {B} is broken because {cause}, and {symptom}. {A} checks it.
{A} looks at {B}'s laptop: {cause}, and now {symptom}.
@detail
{B} needs {files} from it. || {B} does not want to lose {files}.
It costs {price} and will be ready on {ready}. || On {ready} it will be ready, for {price}.
@ask
Whose laptop is broken? = {B}'s
What is wrong with the laptop? = {symptom}
When is it ready? = on {ready}
"""

LEAVE = """
name: vacation_leave
register: work
names: formal, first
decider: B
topics: ask for leave | vacation days | time off work | request a vacation
event: a sister's wedding | a family reunion | a ski trip | a move to a new house | a visit from abroad | a graduation
days: number 2 10
start: date
cover: person
left: integer 11 25 1
choice: take the days in one piece = nobody may be away for so long in the busy season | the big audit is right in the middle
choice: split the days in two = the plane ticket cannot be changed | two short breaks cost twice the travel
choice: take unpaid leave = unpaid leave lowers the pension | the form for unpaid leave takes a month
choice: work from there = the house there has no internet | the computers may not leave the country
choice: work extra hours first = extra hours are forbidden this year | the building closes at six
@open
B: [Do you have a minute|May I come in]<A>? I'd like to take {days} days off from {start}.
A: [What's the occasion|May I know why]<B>?
B: It's because of {event}.
--
A: You wanted to [see|talk to] me<B>?
B: Yes<A>. There's {event}, and I need {days} days from {start}.
--
B: I [want to ask for|would like to have] some time off<A>. There will be {event}.
A: [How nice|I see]<B>. How long, and when?
B: {days} days, starting on {start}.
@cover*
A: Who will do your work?
B: {cover} [said yes|will take over|has offered to help].
--
B: {cover} can [do my work|take my calls] then.
A: {cover}? [Fine|That's good].
@left*
A: [You have|The system says you have] {left} days left[ this year|].
B: {left}? [I thought it was less|Good to know].
@tea*?
A: [Would you like some tea|Have a cookie]?
B: [No, thank you|Oh, thanks].
@setting
{B} asks {A} for {days} days off from {start} because of {event}.
{B} would like {days} days of leave from {start} for {event} and talks to {A}.
{A} hears that {B} wants {days} days off from {start}, as there is {event}.
@detail
{cover} will do {B}'s work. || {B}'s work goes to {cover}.
{B} has {left} days left. || There are {left} days left for {B}.
@ask
Who wants time off? = {B}
Who takes over the work? = {cover}
From when is the leave? = {start}
"""

MEETING = """
name: schedule_meeting
register: work
names: first, first
decider: both
topics: schedule a meeting | plan a meeting | team meeting | set a date
subject: the new website | the budget | the safety rules | the summer party | the customer survey | the office move
guests: number 3 12
day: weekday
old: weekday
time: clock
bring: the sales figures | a projector | the signed forms | some sandwiches | the floor plan
choice: use the big room = the big room is taken by the board | the big room has a broken heater
choice: meet online = the network is down for repairs | half of the people dislike video calls
choice: sit in the cafeteria = the cafeteria is too loud at that hour | customers can hear everything in the cafeteria
choice: go to the cafe next door = the cafe next door is closed for vacation | the cafe has no quiet table
choice: meet at the customer's office = the customer's office is two hours away | the customer needs a week's notice
@open
A: We have to [talk about|meet about] {subject}<B>. [Does {old} suit you|Is {old} okay]?
B: [{old} is full|Not {old}, sorry]. [How about|What about] {day} at {time}?
A: [Good|Works for me]. There will be {guests} of us.
--
B: [When is the meeting|Do we have a date for the meeting] on {subject}<A>?
A: [It was on|I had planned it for] {old}, but it's [now|been moved to] {day} at {time}. {guests} people will come.
--
A: [Got a second|One question]<B>. The meeting on {subject} can't be on {old}.
B: Then take {day}, [say|maybe] at {time}. How many are coming?
A: {guests}.
@bring*
A: [Could you|Can you] bring {bring}?
B: {bring}? [Sure|I'll see to it].
--
B: [I'll|Let me] bring {bring}.
A: [Thanks|Very good], [that helps|I'd have forgotten that].
@length*?
A: [Let's keep it short|I hope it won't take long].
B: [Yes, please|The last one took all day].
@setting
{A} and {B} plan a meeting about {subject} on {day} at {time} for {guests} people.
{A} arranges with {B} that {guests} people meet on {day} at {time} to talk about {subject}.
The meeting on {subject} will be on {day} at {time}, {A} and {B} agree. {guests} people are coming.
@detail
{B} will bring {bring}. || {A} can count on {B} to bring {bring}.
@ask
When is the meeting? = on {day} at {time}
Who brings {bring}? = {B}
How many people are coming? = {guests}
"""

DEADLINE = """
name: deadline
register: work
names: formal, first
decider: B
topics: a late report | project deadline | a work problem | ask for more time
task: the yearly report | the translation | the brochure | the test report | the price list | the talk for the fair
due: weekday
new: weekday
cause: two people are sick | the numbers came late | the printer broke | the client changed the order | the data was lost
pages: integer 12 96 4
choice: deliver a shorter version = the client paid for the full version | the short version leaves out the charts
choice: ask for two more helpers = there is no money for helpers | new helpers need a week of training
choice: work on Saturday = the heating is off on Saturday | the guards lock the house on Saturday
choice: hand in the first half now = the first half makes no sense alone | the first half still has errors
choice: give it to an agency = the agency charges four hundred dollars a page | the contents are secret
@open
A: Where is {task}<B>? It's due on {due}.
B: I'm sorry<A>. We [are late|can't make it], {cause}.
--
B: I have [bad news|to tell you something] about {task}<A>: {cause}.
A: [You know|But you promised] it's due on {due}<B>!
--
A: How is {task} coming along<B>?
B: [Not so well|Slowly]<A>, because {cause}.
A: [Remember|Don't forget] that it's due on {due}.
@pages*
A: How many pages [are missing|do you still have to write]?
B: {pages}[, I'm afraid|].
--
B: There are {pages} pages [missing|to go].
A: {pages}! [That's more than I thought|Oh my].
@settle
A: [I can give you|You get] until {new}, [but no longer|that's final].
B: [Thank you|That will do], {new} it is.
--
B: [Could we have|Would it be possible to have] until {new}?
A: [Agreed|Okay], {new}.
@setting
{A} asks {B} about {task}, due on {due}. It is late because {cause}.
{B} explains to {A} that {task} will not be finished by {due}, as {cause}.
{task} is due on {due}, but {cause}, as {B} tells {A}.
@detail
{A} gives {B} time until {new}. || {B} gets until {new} from {A}.
{pages} pages are missing. || {B} still needs {pages} pages.
@ask
Who is late with the work? = {B}
Why is it late? = because {cause}
What is the new deadline? = {new}
"""

COURSE = """
name: choose_course
register: friends
names: first, first
decider: A
topics: choose a course | university courses | plan the semester | talk about classes
major: history | biology | law | chemistry | economics | music
credits: integer 12 30 3
day: weekday
teacher: person
room: integer 101 399 7
choice: take the statistics class = the statistics class meets at seven in the morning | statistics is full already
choice: learn Italian = the Italian course needs a placement test | the Italian teacher left
choice: join the writing seminar = the seminar wants a paper every week | the seminar is for seniors only
choice: study photography = photography needs an expensive camera | the photo lab burned down
choice: take the film class = the film class does not count for the degree | the film class overlaps with work
choice: sign up for astronomy = astronomy is held on a hill far away | astronomy needs a lot of math
@open
A: [I still need a course|I have to choose one more course]<B>. [I've got|I have] only {credits} credits.
B: [You study|Your major is] {major}, right<A>?
A: Yes, [{major}, that's right|still {major}].
--
B: [Have you signed up for|Are you done with] your courses<A>?
A: [Not yet|Almost]. For {major} I need more than the {credits} credits I have.
--
A: [Help me|Give me some advice]<B>. I've {credits} credits [so far|this term], and {major} [asks for more|requires more].
B: [Show me the list|Let's look at the list].
@teacher*
B: Who [teaches you|is your advisor]?
A: {teacher}, in room {room}.
--
A: {teacher} will [advise me|sign the form], in room {room}.
B: Room {room}? [That's hard to find|I know where that is].
@settle
B: You have to [sign up|register] by {day}.
A: By {day}, [okay|thanks].
--
A: [By when|Until when] do I have to register?
B: [I think it's|Until] {day}.
@coffee*?
B: [The line at the cafeteria is endless|The library is full again].
A: [As always|I noticed].
@setting
{A} studies {major}, has {credits} credits and talks to {B} about one more course.
{A}, who has {credits} credits in {major}, needs another course and asks {B} for advice.
{B} helps {A} to choose a course. {A} studies {major} and has {credits} credits.
@detail
{A} has to register by {day}. || The last day to register is {day}.
{teacher} in room {room} is responsible. || {A} has to see {teacher} in room {room}.
@ask
Who needs a course? = {A}
What does the student study? = {major}
Which room is mentioned? = room {room}
"""

SITUATIONS = (INTERVIEW, LAPTOP, LEAVE, MEETING, DEADLINE, COURSE)
