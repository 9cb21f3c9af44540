"""Situations about bodies and animals: doctor, dentist, pharmacy, optician, vet, gym, hairdresser."""

DOCTOR = """
name: doctor
register: service
names: first, formal
decider: B
topics: see a doctor | medical consultation | a health problem | doctor's appointment
problem: a sore throat | a bad cough | a pain in the left knee | a stiff neck | a rash on one arm | a bad headache | stomach cramps | an earache
days: number 2 9
cause: a long flight | cleaning the attic | the cold office | a football game | sleeping on the sofa | working in the garden
when: weekday
choice: take the tablets = the tablets make people very sleepy | the tablets must not be mixed with coffee
choice: get an injection = the injection hurts for hours | the nurse for injections is away today
choice: stay in bed for a week = a week in bed is bad for the back | the big exam starts tomorrow
choice: have a blood test = the blood test takes ten days | the blood test is not covered by insurance
choice: try a herbal tea = herbal tea is too weak for this | the tea has a plant in it that causes allergies
choice: see a specialist = the specialist has no free date before winter | the specialist works in another city
@open
A: [Good morning|Hello|Come in]<B>. What [seems to be the problem|brings you here today|can I do for you]?
B: [I've had|I have had] {problem} for {days} days now[|, and it won't go away].
--
B: [Good afternoon|Hello], doctor. [Do you have a minute for me?|Thanks for seeing me so quickly.]
A: Of course<B>. [Sit down and tell me|Take a seat and tell me] what's wrong.
B: It's {problem}. It [started|began] {days} days ago.
--
A: [You don't look well|You look pale]<B>. [How can I help|What happened]?
B: [I can't sleep because of|I've been suffering from] {problem}. {days} days already!
@cause*
A: [Do you know where it comes from|Is there a reason you can think of]?
B: [It must be|I think it's] from {cause}.
--
B: [I blame|It may come from] {cause}, [you know|I guess].
A: [That's quite possible|Yes, that happens often].
@fever*?
A: Do you have a [fever|temperature]?
B: No, [I checked it this morning|not at all].
--
B: [My neighbor had the same|My boss had that too] and [was fine after|got over it in] a month.
A: [Everybody is different|Don't worry about that].
@settle
A: [Then come back|I'd like to see you again] on {when}.
B: [{when} is fine|I'll be here on {when}].
--
B: When [should I come back|do you want to see me again]?
A: On {when}[, if you can|].
@setting
{B} has had {problem} for {days} days and sees {A}.
{B} tells the doctor, {A}, about {problem} that started {days} days ago.
{B} goes to the doctor because of {problem}, which began {days} days ago.
{A} examines {B}, who has been suffering from {problem} for {days} days.
@detail
{B} thinks it comes from {cause}. || The cause may be {cause}, {B} believes.
{A} wants to see {B} again on {when}. || {B} should come back on {when}.
@ask
Who is ill? = {B}
How long has the problem lasted? = {days} days
When does the patient come back? = on {when}
"""

DENTIST = """
name: dentist
register: service
names: first, formal
decider: B
topics: dentist's visit | tooth problem | a toothache | dental treatment
tooth: an upper front tooth | a wisdom tooth | a tooth on the left side | a back tooth on the right
food: ice cream | hot soup | nuts | caramel candy | cold water | crusty bread
price: dollars 60 480 20
day: weekday
time: clock
choice: get a white filling = the white filling breaks sooner | the white material is sold out this week
choice: have a gold crown made = a gold crown takes six weeks | the gold shows when people smile
choice: pull the tooth = the gap would move the other teeth | pulling the tooth means a week without solid food
choice: wait another month = the hole grows fast | waiting makes the pain worse
choice: have a root treatment = the root treatment needs four visits | the machine for root treatments is broken
@open
A: [Hello|Good morning]<B>. Which tooth [hurts|is bothering you]?
B: It's {tooth}. [It hurts|I feel it] whenever I have {food}.
--
B: [It really hurts|I'm in pain], doctor. I can't [even eat|eat or drink] {food} any more.
A: [Open wide, please|Let me take a look]<B>. [I see|Yes, there it is], it's {tooth}.
--
A: [Please lie back|Have a seat]<B>. [What's wrong?|Tell me what happened.]
B: [I was eating|It began when I had] {food}, and since then {tooth} has been [hurting|aching].
@price*
B: How much [will that be|does the whole thing cost]?
A: About {price}[, with everything|, in total].
--
A: [You should know that|Just so you know,] treatments like this cost {price}.
B: [That's a lot|Okay], [but health comes first|but it can't be helped].
@brush?*
A: How often do you brush [your teeth|them]?
B: [Twice a day, I promise|After every meal, usually].
@settle
A: [Can you come on|How about] {day} at {time}?
B: [Yes, that suits me|{day} at {time} is fine].
--
B: When [do we start|is the next free date]?
A: [On|It would be] {day} at {time}.
@setting
{B} sees the dentist, {A}, because {tooth} hurts with {food}.
{B} has trouble with {tooth} when eating or drinking {food} and talks to {A} about it.
{A} looks at {tooth} that hurts {B} since {B} had {food}.
@detail
The treatment costs about {price}. || {B} has to pay around {price}.
The appointment is on {day} at {time}. || They will meet on {day} at {time}.
@ask
Who has a toothache? = {B}
How much does the treatment cost? = {price}
When is the appointment? = on {day} at {time}
"""

PHARMACY = """
name: pharmacy
register: service
names: none, none
decider: B
topics: at the pharmacy | buy medicine | ask for a remedy | ask a pharmacist
patient: son | daughter | husband | wife | grandfather | mother
trouble: hay fever | a runny nose | dry skin | a mosquito bite | a sunburn | travel sickness | a blister
price: dollars 5 28 1
times: number 3 6
choice: buy the spray = the spray must stay in the fridge | the spray stings a lot
choice: buy the cream = the cream leaves spots on clothes | the cream has perfume in it
choice: buy the drops = the drops last for only a week after opening | the drops taste very bitter
choice: buy the capsules = the capsules are too big to swallow | the capsules contain gelatin
choice: buy the syrup = the syrup is full of sugar | the bottle of syrup is made of glass
@open
B: [Hello|Good evening], do you have [anything|something] for {trouble}? It's for my {patient}.
A: [Yes, several things|We do].
--
A: [Next, please.|Who's next?] [Good morning|Hello].
B: [Morning|Hi]. My {patient} has {trouble}. [What do you recommend|What can you give me]?
A: [That's common at this time of the year|Oh, poor thing].
--
B: [Excuse me|Sorry], my {patient} [suffers from|has got] {trouble} again. [I need something that works.|Can you help?]
A: [I'm sure we'll find something|Let's see what we have].
@use*
B: How often [is it used|should it be used]?
A: {times} times a day[, after meals|, no more than that|].
--
A: [Use it|Please use it] {times} times a day, [whatever you take|it says so on every box].
B: {times} times, [got it|okay].
@price*
A: It comes to {price}.
B: [Here you are|I'll pay by card].
--
B: What [does it cost|do I pay]?
A: {price}, please.
@setting
{B} asks {A} at the pharmacy for help with {trouble} of {B}'s {patient}.
{B}'s {patient} has {trouble}, so {B} talks to a pharmacist, {A}.
At the pharmacy, {B} looks for something against {trouble} for {B}'s {patient}.
@detail
It should be used {times} times a day. || {A} says to use it {times} times a day.
{B} pays {price}. || The price is {price}.
@ask
Who is the medicine for? = {B}'s {patient}
How often should it be used? = {times} times a day
Who works at the pharmacy? = {A}
"""

OPTICIAN = """
name: optician
register: service
names: none, formal
decider: B
topics: new glasses | eye test | at the optician | choose glasses
sign: the road signs | the small print | the board at school | the subtitles on TV | the bus numbers
years: number 2 9
price: dollars 90 390 10
ready: weekday
choice: take the round frame = the round frame slips down | the round frame only comes in pink
choice: try contact lenses = lenses irritate dry eyes | lenses cost extra every month
choice: keep the old frame = the old frame is cracked | new glass does not fit the old frame
choice: order thin plastic lenses = plastic scratches quickly | the plastic lenses are not made any more
choice: take the metal frame = the metal contains nickel | the metal frame is too heavy
@open
A: [Please sit down|Come in]<B>. When [was your last eye test|were your eyes tested last]?
B: {years} years ago. [Now|These days] I can't read {sign} any more.
--
B: [Hello|Hi], I have trouble with {sign}. [Could you check my eyes|Do I need new glasses]?
A: [Certainly|Of course]<B>. How old are your glasses?
B: {years} years[|, I'm afraid].
@letters*?
A: [Read the bottom line, please.|What does the third line say?]
B: [I can only guess|It's all a blur].
@price*
B: And the price?
A: [That makes|About] {price}[, eye test included|].
--
A: [Everything together is|We charge] {price}.
B: [That's fine|I expected more].
@settle
A: [Your order|Everything] will be ready on {ready}.
B: [Good, I'll pick it up then|{ready}, very good].
@setting
{B} can hardly read {sign} and has {A} test the eyes after {years} years.
{A} tests the eyes of {B}, who has trouble with {sign}. The last time was {years} years ago.
@detail
It costs {price}. || {B} will pay {price}.
It is ready on {ready}. || {B} can collect the order on {ready}.
@ask
Who needs an eye test? = {B}
What can the customer not read? = {sign}
When is the order ready? = on {ready}
"""

VET = """
name: vet
register: service
names: first, first
decider: B
topics: sick pet | visit to the vet | an animal's health | pet care
animal: cat | rabbit | parrot | puppy | hamster | old dog | turtle
petname: Milo | Pepper | Ginger | Oreo | Simba | Daisy May | Cookie
trouble: won't eat | sleeps all day | scratches all the time | limps on one leg | drinks too much water | hides under the sofa
days: number 2 7
fee: dollars 35 160 5
choice: change the food = the new food is out of stock | the special food costs a fortune
choice: leave the animal here overnight = nobody watches the animals at night | the noise here would frighten a sick animal
choice: have an X-ray done = the X-ray needs an anesthetic | the X-ray room is being painted
choice: give pills twice a day = it is nearly impossible to give pills to an animal | the pills upset the stomach
choice: wait and watch for a week = in a week it could be too late | the weight is already dangerously low
@open
A: [So this is {petname}.|Is this {petname}?] [What's the matter|What's wrong]<B>?
B: [My|Our] {animal} {trouble}. It's been [like that for|going on for] {days} days.
--
B: [Hello|Hi], I'm here with {petname}, my {animal}. {petname} {trouble}.
A: [Since when|How long has that been going on]<B>?
B: {days} days, [more or less|I think].
--
B: [Please help us|I'm worried]! My {animal}, {petname}, {trouble}.
A: [Calm down|Stay calm]<B>, [put the box on the table|let me see]. When did it start?
B: {days} days ago.
@fee*
B: [What do I owe you|How much is the visit]?
A: {fee}[, to be paid at the desk|].
--
A: The visit costs {fee}, [I should add|by the way].
B: [That's all right|No problem].
@history*?
A: [Has this happened before|Was it ever sick before]?
B: [Only once, as a baby|Never].
--
B: [My neighbor's animals get nothing but leftovers|My sister says I feed too much].
A: [Every animal is different|Don't listen to that].
@setting
{B} brings a {animal} named {petname} to {A} because {petname} {trouble}. It started {days} days ago.
{petname}, {B}'s {animal}, {trouble}. After {days} days of this, {B} sees a vet, {A}.
{A}, a vet, hears from {B} that {petname}, a {animal}, {trouble}. It has lasted {days} days.
@detail
The visit costs {fee}. || {B} pays {fee} for the visit.
@ask
What is the animal's name? = {petname}
Who is the vet? = {A}
How much is the visit? = {fee}
"""

GYM = """
name: gym
register: service
names: first, first
decider: B
topics: join a gym | fitness training | gym membership | get in shape
goal: lose some weight | run a marathon | build up muscle | get rid of back pain | sleep better | get fit for skiing
fee: dollars 19 79 5
hours: number 2 6
day: weekday
choice: take the yoga class = the yoga class is only for members of five years | the yoga room has no air
choice: train with the weights = weights are bad for an injured shoulder | the weight room closes at noon
choice: swim in the mornings = the pool is closed for repairs | the pool is full of school classes then
choice: hire a personal coach = a coach doubles the price | all coaches are booked until spring
choice: join the boxing group = the boxing group meets at midnight | boxing is not allowed with contact lenses
choice: use the rowing machine = there is always a long line for it | the rowing machine lost a seat
@open
A: [Welcome to|Hello and welcome to] [the Iron Club|Fit Point|the Green Gym]<B>! What [brings you to us|is your goal]?
B: I want to {goal}.
A: [Great|Good]. How much time do you have?
B: {hours} hours a week[|, not more].
--
B: [Hi|Hello], I'd like to [sign up|become a member]. My goal is to {goal}.
A: [You've come to the right place|No problem]<B>. How often [can you come|do you have time]?
B: [I have|I can spare] {hours} hours a week.
@fee*
B: What's the monthly fee?
A: {fee}[, and the first week is free|, including towels].
--
A: [Members pay|It costs] {fee} a month.
B: {fee}? [The gym near my office asks for twice that|That's what I expected].
@sport*?
A: Did you do any sports [before|at school]?
B: [A bit of tennis, long ago|Not since school, to be honest].
@settle
A: [Then you can start|Your first day could be] on {day}.
B: [See you on {day}|Great, I'll be there].
--
B: When can I start?
A: [As soon as|On] {day}[, if you like|].
@setting
{B} wants to {goal} and talks to {A} at a gym. {B} has {hours} hours a week.
{B} joins a gym to {goal} and tells {A} that {hours} hours a week are possible.
At a gym, {A} advises {B}, who has {hours} hours a week and hopes to {goal}.
@detail
The fee is {fee} a month. || {B} will pay {fee} every month.
{B} starts on {day}. || The training begins on {day}.
@ask
What is the customer's goal? = to {goal}
How much is the fee? = {fee} a month
Who works at the gym? = {A}
"""

HAIRDRESSER = """
name: hairdresser
register: service
names: first, first
decider: B
topics: a new haircut | at the hairdresser | hair style | visit a salon
occasion: a wedding | a class reunion | a job interview | a concert | a first date
inches: number 2 6
price: dollars 22 98 4
next: date
choice: dye it red = red dye fades in the sun | red dye needs four hours
choice: get a perm = a perm damages thin hair | the perm machine is broken
choice: cut it very short = short hair shows the ears | short hair does not keep warm in winter
choice: keep it long = long hair is too hot in summer | the ends are all dry
choice: get bangs = bangs get in the eyes | bangs have to be cut every two weeks
@open
A: [Hi|Come on in]<B>! [What will it be today|What can I do for you]?
B: I'm going to {occasion}. [Please cut off|It can be] {inches} inches [|shorter].
--
B: [Hello|Hi]<A>, I need a new look for {occasion}.
A: [How exciting|Lovely]<B>! How much should come off?
B: [About|Maybe] {inches} inches.
@price*
B: [How much is that|What do you charge]?
A: {price}[, with a wash|].
--
A: [The price is|I take] {price}.
B: [A bit more than before|Good].
@settle
A: [Let's meet again|Your next visit is] on {next}.
B: [{next}, okay|I'll note that down].
@setting
{B} sees a hairdresser, {A}, before {occasion} and wants {inches} inches off.
For {occasion}, {B} asks {A} to cut off {inches} inches of hair.
@detail
It costs {price}. || {B} pays {price}.
The next visit is on {next}. || {B} comes again on {next}.
@ask
What is the occasion? = {occasion}
Who cuts the hair? = {A}
When is the next visit? = on {next}
"""

SITUATIONS = (DOCTOR, DENTIST, PHARMACY, OPTICIAN, VET, GYM, HAIRDRESSER)
